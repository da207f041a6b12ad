# Table 1, "+ STR": P5 to P7 regressed in two steps, plain subnets.
_base_ = '../srn_r50_fpn_widerface.py'

model = dict(
    neck=dict(first_levels=(3, 4, 5)),
    bbox_head=dict(stc_levels=(), str_levels=(3, 4, 5), rfe_cfg=None),
)
