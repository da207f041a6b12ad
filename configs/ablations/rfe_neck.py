# RFE once per map, after the pyramids, instead of once per map and subnet in the head;
# what the two have in common before they part is computed once.
_base_ = '../srn_r50_fpn_widerface.py'

model = dict(
    neck=[
        _base_.model.neck,
        dict(
            type='RFE',
            in_channels=_base_.model.neck.out_channels,
            norm_cfg=_base_.model.bbox_head.get('norm_cfg'),
        ),
    ],
    bbox_head=dict(rfe_cfg=None),
)
