# SRN with ResNet-50 on WIDER FACE: the paper's recipe and inference, the released
# network's structure where the two differ.
# Another copy of the data:
#   --cfg-options data_root=... is not enough, the dataloaders hold it as well;
#   see configs/_base_/datasets/widerface.py
_base_ = [
    '_base_/models/srn_r50_fpn.py',
    '_base_/datasets/widerface.py',
    '_base_/schedules/schedule_130e.py',
    '_base_/default_runtime.py',
]

train_dataloader = dict(pin_memory=True)  # copied to the GPU while it computes
val_dataloader = dict(pin_memory=True)
test_dataloader = dict(pin_memory=True)
default_hooks = dict(checkpoint=dict(max_keep_ckpts=3))  # 430 MB each
