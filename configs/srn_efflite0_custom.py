# The shipped detector, trained on with faces of your own: README.md, 'Your own faces'.
_base_ = 'srn_efflite0_faces.py'

from mmdet_srn.weights import weights_file  # noqa: E402

load_from = str(weights_file('.pth'))

data_root = (
    'data/my_faces/'  # images, train.json and val.json by convert_annotations.py
)
# convert_annotations.py prints them; with others, the class layers start anew.
classes = ('face',)

model = dict(
    backbone=dict(
        frozen_stages=6,  # all of it: few photographs would spoil it
        init_cfg=None,  # load_from has it
    ),
    bbox_head=dict(num_classes=len(classes)),
)

dataset = dict(
    type='FaceCocoDataset',
    data_root=data_root,
    data_prefix=dict(img=''),
    metainfo=dict(classes=classes),
    backend_args=None,
)
train_dataloader = dict(
    dataset=dict(
        _delete_=True,
        **dataset,
        ann_file='train.json',
        filter_cfg=dict(filter_empty_gt=False),  # empty scenes teach what is no face
        pipeline={{_base_.train_pipeline}},
    )
)
val_dataloader = dict(
    dataset=dict(
        _delete_=True,
        **dataset,
        ann_file='val.json',
        test_mode=True,
        pipeline={{_base_.test_pipeline}},
    )
)
test_dataloader = val_dataloader

best = 'widerface/AP'
if len(classes) > 1:  # that is of the first one: mmdet's has all by name
    best = 'coco/bbox_mAP_50'
    val_evaluator = [
        {{_base_.val_evaluator}},
        dict(
            type='CocoMetric',
            ann_file=data_root + 'val.json',
            metric='bbox',
            classwise=True,
            collect_device='gpu',  # as the other
        ),
    ]
    test_evaluator = val_evaluator

max_iters = 300  # 10 to 15 minutes on two cores
train_cfg = dict(max_iters=max_iters, val_interval=50)
optim_wrapper = dict(optimizer=dict(lr=2e-4))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.1, by_epoch=False, begin=0, end=30),
    dict(type='CosineAnnealingLR', eta_min=1e-6, by_epoch=False, T_max=max_iters),
]
default_hooks = dict(
    logger=dict(interval=10),
    checkpoint=dict(interval=50, save_best=best, rule='greater', max_keep_ckpts=1),
    checkpoint_fit=dict(allow_partial=len(classes) > 1),
)
custom_hooks = [
    dict(type='EMAHook', ema_type='ExponentialMovingAverage', momentum=0.02),
    dict(
        type='EarlyStoppingHook',
        monitor=best,
        rule='greater',
        min_delta=0.001,
        patience=3,
    ),
]
# TensorBoard and MLflow, by a line each: README.md.
