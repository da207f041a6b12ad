# Paper, 'Training': SGD at 1e-2 for 100 epochs, 1e-3 for 20 and 1e-4 for 10,
# batch 32.
train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=130, val_interval=10)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
param_scheduler = [
    # Ours: at 1e-2 the new layers' first gradients reach norms in the hundreds.
    dict(type='LinearLR', start_factor=0.001, by_epoch=False, begin=0, end=500),
    dict(type='MultiStepLR', begin=0, end=130, milestones=[100, 120], gamma=0.1),
]
optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='SGD', lr=0.01, momentum=0.9, weight_decay=0.0001),
    # Not in the paper. Without it the first few steps can diverge, from ImageNet
    # weights too, where few anchors are positive (small crops, small batches).
    clip_grad=dict(max_norm=10),
)
auto_scale_lr = dict(enable=False, base_batch_size=32)
