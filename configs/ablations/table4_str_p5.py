# Table 4, "P5": STR on P5 alone, added to the baseline of Table 1.
_base_ = '../srn_r50_fpn_widerface.py'

model = dict(
    neck=dict(first_levels=(3,)),
    bbox_head=dict(stc_levels=(), str_levels=(3,), rfe_cfg=None),
)
