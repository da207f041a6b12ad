# Table 4, "P3": STR on P3 alone, added to the baseline of Table 1.
_base_ = '../srn_r50_fpn_widerface.py'

model = dict(
    neck=dict(first_levels=(1,)),
    bbox_head=dict(stc_levels=(), str_levels=(1,), rfe_cfg=None),
)
