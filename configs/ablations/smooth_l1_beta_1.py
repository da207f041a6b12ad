# Fast R-CNN's beta: the base itself, another one on the mosaic's, which has 1/9.
_base_ = '../srn_r50_fpn_widerface.py'

model = dict(bbox_head=dict(loss_bbox=dict(beta=1.0)))
