# Table 1, "+ STC": P2 to P4 classified in two steps, plain subnets.
_base_ = '../srn_r50_fpn_widerface.py'

model = dict(
    neck=dict(first_levels=(0, 1, 2)),
    bbox_head=dict(stc_levels=(0, 1, 2), str_levels=(), rfe_cfg=None),
)
