# Table 4, "P7": STR on P7 alone, added to the baseline of Table 1.
_base_ = '../srn_r50_fpn_widerface.py'

model = dict(
    neck=dict(first_levels=(5,)),
    bbox_head=dict(stc_levels=(), str_levels=(5,), rfe_cfg=None),
)
