# No RFE: four 3x3 convolutions in each subnet, as "+ STC + STR" of Table 1.
_base_ = '../srn_r50_fpn_widerface.py'

model = dict(bbox_head=dict(rfe_cfg=None))
