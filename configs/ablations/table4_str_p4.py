# Table 4, "P4": STR on P4 alone, added to the baseline of Table 1.
_base_ = '../srn_r50_fpn_widerface.py'

model = dict(
    neck=dict(first_levels=(2,)),
    bbox_head=dict(stc_levels=(), str_levels=(2,), rfe_cfg=None),
)
