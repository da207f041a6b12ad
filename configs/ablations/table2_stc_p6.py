# Table 2, "P6": STC on P6 alone, added to the baseline of Table 1.
_base_ = '../srn_r50_fpn_widerface.py'

model = dict(
    neck=dict(first_levels=(4,)),
    bbox_head=dict(stc_levels=(4,), str_levels=(), rfe_cfg=None),
)
