# Table 4, "P2": STR on P2 alone, added to the baseline of Table 1.
_base_ = '../srn_r50_fpn_widerface.py'

model = dict(
    neck=dict(first_levels=(0,)),
    bbox_head=dict(stc_levels=(), str_levels=(0,), rfe_cfg=None),
)
