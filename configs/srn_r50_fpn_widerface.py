# SRN with ResNet-50, the paper's model and recipe, on WIDER FACE.
# Another copy of the data:
#   --cfg-options data_root=... is not enough, the dataloaders hold it as well;
#   see configs/_base_/datasets/widerface.py
_base_ = [
    '_base_/models/srn_r50_fpn.py',
    '_base_/datasets/widerface.py',
    '_base_/schedules/schedule_130e.py',
    '_base_/default_runtime.py',
]
