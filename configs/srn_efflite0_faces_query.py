# The shipped model and a branch on P3 that says where P2 has to look: at test the first
# step of P2 is computed there alone (QueryDet). Trains the branch, nothing else.
_base_ = 'srn_efflite0_faces.py'

from mmdet_srn.weights import weights_file  # noqa: E402

load_from = str(weights_file('.pth'))
find_unused_parameters = True  # by several processes: the branch alone has gradients

model = dict(
    backbone=dict(frozen_stages=6, init_cfg=None),  # load_from has it
    neck=dict(deferred_first_levels=(0,)),
    bbox_head=dict(type='QuerySRNHead', query_levels=(0,)),
    train_cfg=dict(query_alone=True),  # without it everything is trained
)

max_iters = 1800
train_cfg = dict(max_iters=max_iters, val_interval=max_iters)
optim_wrapper = dict(optimizer=dict(lr=3e-3))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.05, by_epoch=False, begin=0, end=20),
    dict(type='CosineAnnealingLR', eta_min=1e-5, by_epoch=False, T_max=max_iters),
]
default_hooks = dict(checkpoint_fit=dict(allow_partial=True))  # the branch is new
