# mmdet's SSDLite with MobileNetV2, with SRN's head instead of one per level: so all
# maps get as many channels.
_base_ = 'mmdet::ssd/ssdlite_mobilenetv2-scratch_8xb24-600e_coco.py'

custom_imports = dict(imports=['mmdet_srn'], allow_failed_imports=False)
model = dict(
    neck=[
        _base_.model.neck,
        dict(
            type='ChannelMapper',
            in_channels=list(_base_.model.neck.out_channels),
            out_channels=128,
            kernel_size=1,
            num_outs=6,
        ),
    ],
    bbox_head=dict(
        _delete_=True,  # SSD's head has depthwise convolutions
        type='SRNHead',
        num_classes=80,
        in_channels=128,
        feat_channels=128,
        stc_levels=(0, 1),
        str_levels=(2, 3, 4, 5),
        share_reg_predictor=False,  # both steps read one map
        anchor_generator=_base_.model.bbox_head.anchor_generator,
        bbox_coder=_base_.model.bbox_head.bbox_coder,
    ),
)
