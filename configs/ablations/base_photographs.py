# A base for ablate.py: photographs, with half of the shipped model's channels and 14
# minutes of one CPU core a run. README.md has the command, and says what such figures
# are good for.
_base_ = '../srn_efflite0_faces.py'

from mmdet_srn.weights import weights_file  # noqa: E402

model = dict(
    # What 1,200 iterations lack, the backbone brings; cells differ in neck and head.
    backbone=dict(
        init_cfg=dict(
            _delete_=True,
            type='PretrainedBackbone',
            checkpoint=str(weights_file('.pth')),
            prefix='backbone.',
        ),
        frozen_stages=6,  # all
    ),
    neck=dict(out_channels=32, deferred_first_levels=()),
    bbox_head=dict(type='SRNHead', in_channels=32, feat_channels=32),
    test_cfg=dict(vote_iou_thr=None),  # as the paper
)

train_dataloader = _base_.train_dataloader
for _set in train_dataloader.dataset.datasets:
    _set.get('dataset', _set).pipeline[1].size = (256, 256)
del _set

max_iters = 1200
train_cfg = dict(max_iters=max_iters, val_begin=max_iters + 1)  # the test follows
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, begin=0, end=100),
    dict(type='CosineAnnealingLR', eta_min=1e-5, by_epoch=False, T_max=max_iters),
]
default_hooks = dict(checkpoint=dict(interval=max_iters, max_keep_ckpts=1))
# .003 averages over some 300 iterations, a quarter of the run.
custom_hooks = [
    dict(type='EMAHook', ema_type='ExponentialMovingAverage', momentum=0.01)
]

# 364 photographs that the training does not see: MIT+CMU, seven of WIDER FACE val, and
# the tenths that were kept of four sets.
test_dataloader = dict(
    dataset=dict(
        datasets=[
            dict(_base_.val[0], ann_file=annotations, data_prefix=dict(img=folder))
            for annotations, folder in (
                ('cmu_mit/cmu_mit_bbx_gt.txt', 'cmu_mit/images'),
                (
                    'widerface_mini/wider_face_split/wider_face_val_bbx_gt.txt',
                    'widerface_mini/WIDER_val/images',
                ),
                ('splits/widerface_mini_val.txt', 'widerface_mini/WIDER_train/images'),
                ('splits/mask853_val.txt', 'mask853/images'),
                ('splits/macwin498_val.txt', 'macwin498/images'),
                ('splits/agreed_val.txt', 'agreed/images'),
            )
        ]
    )
)
