# Table 1, "Baseline": RetinaNet, one step everywhere and its plain subnets.
_base_ = '../srn_r50_fpn_widerface.py'

model = dict(
    neck=dict(first_levels=()),
    bbox_head=dict(stc_levels=(), str_levels=(), rfe_cfg=None),
)
