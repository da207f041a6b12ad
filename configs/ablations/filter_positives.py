# The filter drops positives of the second step too, as the paper's formula reads; base:
# negatives only.
_base_ = '../srn_r50_fpn_widerface.py'

model = dict(bbox_head=dict(loss_cls=dict(filter_positives=True)))
