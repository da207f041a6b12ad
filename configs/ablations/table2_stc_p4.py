# Table 2, "P4": STC on P4 alone, added to the baseline of Table 1.
_base_ = '../srn_r50_fpn_widerface.py'

model = dict(
    neck=dict(first_levels=(2,)),
    bbox_head=dict(stc_levels=(2,), str_levels=(), rfe_cfg=None),
)
