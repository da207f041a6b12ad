# No SRN at all: mmdet's RetinaNet on WIDER FACE, with this package's data set, matching
# and evaluation.
_base_ = [
    'mmdet::_base_/models/retinanet_r50_fpn.py',
    '../_base_/datasets/widerface.py',
    '../_base_/schedules/schedule_130e.py',
    '../_base_/default_runtime.py',
]

model = dict(
    bbox_head=dict(num_classes=1),
    # The stock result, in memory for faces plus anchors instead of their product.
    train_cfg=dict(assigner=dict(type='GridMaxIoUAssigner')),
)
