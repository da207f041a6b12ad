# mmdet's RetinaNet on COCO's 80 classes with SRN's head, two-step classification on P3
# and P4, which hold most anchors, two-step regression on P5 to P7. Anchors, box code,
# losses' settings and the second step's matching stay RetinaNet's.
_base_ = 'mmdet::retinanet/retinanet_r50_fpn_1x_coco.py'

custom_imports = dict(imports=['mmdet_srn'], allow_failed_imports=False)
model = dict(
    bbox_head=dict(
        type='SRNHead',
        stc_levels=(0, 1),
        str_levels=(2, 3, 4),
        share_reg_predictor=False,  # both steps read the FPN's one map
        loss_cls=dict(type='TwoStageFocalLoss'),
    )
)
