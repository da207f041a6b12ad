# mmdet's RetinaNet with Swin-T, with SRN's head.
_base_ = 'mmdet::swin/retinanet_swin-t-p4-w7_fpn_1x_coco.py'

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
