# The shipped model's recipe on photographs with free terms alone: mask853 (said to be
# CC0) and agreed (CC BY 4.0).
_base_ = 'srn_efflite0_faces.py'

max_iters = 1200  # 40 minutes on one core
train_dataloader = dict(
    dataset=dict(
        _delete_=True,
        type='ConcatDataset',
        datasets=[_base_.train.mask853, _base_.train.agreed],
    )
)
val_dataloader = dict(dataset=dict(_delete_=True, **_base_.val[2]))  # mask853
test_dataloader = val_dataloader
train_cfg = dict(max_iters=max_iters, val_interval=max_iters)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, begin=0, end=100),
    dict(type='CosineAnnealingLR', eta_min=1e-5, by_epoch=False, T_max=max_iters),
]
