# The same with SRN's two pyramids, from P3: the first step has C3 to C7 of its own, so
# one box predictor serves both.
_base_ = 'retinanet_r50_fpn_srn_coco.py'

model = dict(
    backbone=dict(out_indices=(1, 2, 3)),
    neck=dict(
        _delete_=True,
        type='SRNFPN',
        in_channels=[512, 1024, 2048],
        extra_channels=(1024, 256),  # C6, C7
    ),
    bbox_head=dict(share_reg_predictor=True),
)
