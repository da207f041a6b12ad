# SRN, small enough to learn the face mosaic from scratch on two CPU cores:
# ResNet-18 at half width, 64 channels in the pyramids and the head.
_base_ = [
    '_base_/models/srn_r50_fpn.py',
    '_base_/datasets/face_mosaic.py',
    '_base_/default_runtime.py',
]

model = dict(
    backbone=dict(
        depth=18,
        base_channels=32,
        frozen_stages=-1,  # from scratch, so the stem learns as well
        init_cfg=None,
    ),
    neck=dict(
        in_channels=[32, 64, 128, 256],
        out_channels=64,
        extra_channels=(128, 64),
        deferred_levels=(),  # the head's GN sees whole maps
    ),
    bbox_head=dict(
        in_channels=64,
        feat_channels=64,
        norm_cfg=dict(type='GN', num_groups=8, requires_grad=True),
    ),
    # Each face has an anchor to learn from: the smallest reach no threshold.
    train_cfg=dict(
        first_assigner=dict(match_low_quality=True, min_pos_iou=0.3),
        assigner=dict(match_low_quality=True, min_pos_iou=0.3),
    ),
    test_cfg=dict(nms=dict(iou_threshold=0.4)),  # the released code's
)

# 3 epochs of 600 iterations: about 17 minutes on two cores. In as many iterations,
# many images seen few times teach more than few images seen often.
max_epochs = 3
train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=max_epochs, val_interval=1)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
# From scratch in few iterations: AdamW and a cosine instead of the paper's SGD.
optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='AdamW', lr=0.001, weight_decay=0.01),
    clip_grad=dict(max_norm=10),
)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.1, by_epoch=False, begin=0, end=100),
    dict(
        type='CosineAnnealingLR',
        eta_min=1e-5,
        begin=0,
        end=max_epochs,
        T_max=max_epochs,
        by_epoch=True,
        convert_to_iter_based=True,
    ),
]
default_hooks = dict(
    logger=dict(interval=30),  # a line every quarter of a minute
    checkpoint=dict(max_keep_ckpts=2),
)
randomness = dict(seed=0)
