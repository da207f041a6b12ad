# RetinaNet's beta, with which deltas of over 1/9 weigh the same; base: Fast R-CNN's 1.
_base_ = '../srn_r50_fpn_widerface.py'

model = dict(bbox_head=dict(loss_bbox=dict(beta=1 / 9)))
