# Fast R-CNN's beta, where deltas under 1 weigh the less the smaller they are; base:
# RetinaNet's, 1/9.
_base_ = '../srn_r50_fpn_widerface.py'

model = dict(bbox_head=dict(loss_bbox=dict(beta=1.0)))
