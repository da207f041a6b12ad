# One last classification layer for both steps, as in the released network; base: each
# step its own.
_base_ = '../srn_r50_fpn_widerface.py'

model = dict(bbox_head=dict(share_cls_predictor=True))
