# Anchors not rounded and centred on their cells (paper); base: the released ones.
_base_ = '../srn_r50_fpn_widerface.py'

model = dict(
    bbox_head=dict(
        anchor_generator=dict(
            _delete_=True,
            type='AnchorGenerator',
            strides=[4, 8, 16, 32, 64, 128],
            scales=[2, 2 * 2**0.5],
            ratios=[1.25],
            center_offset=0.5,
        )
    )
)
