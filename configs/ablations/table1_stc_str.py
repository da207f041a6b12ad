# Table 1, "+ STC + STR": both placements of SRN, plain subnets.
_base_ = '../srn_r50_fpn_widerface.py'

model = dict(bbox_head=dict(stc_levels=(0, 1, 2), str_levels=(3, 4, 5), rfe_cfg=None))
