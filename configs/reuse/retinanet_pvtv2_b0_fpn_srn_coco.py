# mmdet's RetinaNet with PVTv2-B0, with SRN's head.
_base_ = 'mmdet::pvt/retinanet_pvtv2-b0_fpn_1x_coco.py'

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
