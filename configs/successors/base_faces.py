# What each part is compared with: the shipped model, trained on by its own recipe for
# 1,300 iterations of 8 crops, about 40 minutes of one core. README.md says why it
# starts from the shipped weights. Another seed: --cfg-options randomness.seed=1
_base_ = '../srn_efflite0_faces.py'

from mmdet_srn.weights import weights_file  # noqa: E402

load_from = str(weights_file('.pth'))

model = dict(
    backbone=dict(init_cfg=None),  # load_from has it
    bbox_head=dict(type='SRNHead'),
    test_cfg=dict(vote_iou_thr=None),
)

max_iters = 1300
train_cfg = dict(max_iters=max_iters, val_interval=max_iters)
optim_wrapper = dict(optimizer=dict(lr=8e-4))  # that of the shipped weights' last part
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, begin=0, end=100),
    dict(type='CosineAnnealingLR', eta_min=1e-5, by_epoch=False, T_max=max_iters),
]
# A part with layers of its own starts them anew.
default_hooks = dict(
    checkpoint=dict(interval=max_iters, max_keep_ckpts=1),
    checkpoint_fit=dict(allow_partial=True),
)
