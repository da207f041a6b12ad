# Table 2, "P5": STC on P5 alone, added to the baseline of Table 1.
_base_ = '../srn_r50_fpn_widerface.py'

model = dict(
    neck=dict(first_levels=(3,)),
    bbox_head=dict(stc_levels=(3,), str_levels=(), rfe_cfg=None),
)
