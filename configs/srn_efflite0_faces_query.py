# The last part of the shipped weights: the query branch alone, on those of a model that
# was trained without it (successors/base_faces.py): --cfg-options load_from=FILE;
# without that it trains the shipped branch on.
_base_ = 'srn_efflite0_faces.py'

from mmdet_srn.weights import weights_file  # noqa: E402

load_from = str(weights_file('.pth'))

model = dict(backbone=dict(init_cfg=None))  # load_from has it

max_iters = 800
train_cfg = dict(max_iters=max_iters, val_interval=max_iters)
optim_wrapper = dict(optimizer=dict(lr=3e-3))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.05, by_epoch=False, begin=0, end=20),
    dict(type='CosineAnnealingLR', eta_min=1e-5, by_epoch=False, T_max=max_iters),
]
default_hooks = dict(checkpoint_fit=dict(allow_partial=True))  # the branch is new
custom_hooks = [
    *_base_.custom_hooks,
    dict(type='TrainOnlyHook', modules=('bbox_head.query',)),
]
