# The first step drops an anchor at a face probability under 0.1; base: 0.01.
_base_ = '../srn_r50_fpn_widerface.py'

model = dict(bbox_head=dict(theta=0.9))
