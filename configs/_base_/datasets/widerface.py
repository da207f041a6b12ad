# WIDER FACE in its official layout, with the paper's augmentation.
#
# Another folder than data/WIDERFace/:
#   --cfg-options train_dataloader.dataset.data_root=DIR \
#                 val_dataloader.dataset.data_root=DIR \
#                 test_dataloader.dataset.data_root=DIR
dataset_type = 'WIDERFaceTxtDataset'
data_root = 'data/WIDERFace/'
backend_args = None
crop_size = (1024, 1024)

# The order of the paper's augmentations is: colours, expansion, crop, flip, resizing.
# LoadSquareCrop draws expansion and crop first and PlaceInSquare paints them last, so
# that only what is left of the photograph is worked on; the result is the same.
# The paper gives no probabilities: those of mmdet's SSD recipe are kept (0.5 for
# each distortion and for the expansion). Zeros fill the margin before the mean is
# subtracted, i.e. it is black.
# Another size: --cfg-options train_dataloader.dataset.pipeline.1.size=512
# PyramidBox's data-anchor-sampling: ...pipeline.1.type=LoadDataAnchorCrop
train_pipeline = [
    dict(type='LoadAnnotations', with_bbox=True),
    dict(type='LoadSquareCrop', size=crop_size, backend_args=backend_args),
    dict(type='PhotoMetricDistortion'),
    dict(type='RandomFlip', prob=0.5),
    dict(type='PlaceInSquare'),
    dict(type='PackDetInputs'),
]
# Protocol 'original': the image as it is. The annotation is loaded after Resize, so
# that the faces stay in the pixels of the original image at any scale; 'instances'
# carries them to the metric with their attributes.
test_pipeline = [
    dict(type='LoadImageFromFile', backend_args=backend_args),
    dict(type='Resize', scale_factor=1.0, keep_ratio=True),
    dict(type='LoadAnnotations', with_bbox=True),
    dict(
        type='PackDetInputs',
        meta_keys=(
            'img_id',
            'img_path',
            'ori_shape',
            'img_shape',
            'scale_factor',
            'instances',
        ),
    ),
]

train_dataloader = dict(
    batch_size=4,  # on each of 8 GPUs: the paper's batch of 32
    num_workers=4,
    persistent_workers=False,  # EpochSeedHook seeds workers when they start
    sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(
        type=dataset_type,
        data_root=data_root,
        ann_file='wider_face_split/wider_face_train_bbx_gt.txt',
        data_prefix=dict(img='WIDER_train/images'),
        # Images with no face to find are left out: the one we could look at
        # (0_Parade_Parade_0_275) shows an unannotated crowd, not an empty scene.
        filter_cfg=dict(filter_empty_gt=True),
        pipeline=train_pipeline,
        backend_args=backend_args,
    ),
)
val_dataloader = dict(
    batch_size=1,  # no image is padded to another's size
    num_workers=4,
    persistent_workers=False,  # they would stay in memory while it trains
    drop_last=False,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type=dataset_type,
        data_root=data_root,
        ann_file='wider_face_split/wider_face_val_bbx_gt.txt',
        data_prefix=dict(img='WIDER_val/images'),
        test_mode=True,
        pipeline=test_pipeline,
        backend_args=backend_args,
    ),
)
# The ground truth of the test split is withheld, so testing is done on val. For the
# test split's images, without a figure:
#   ann_file='wider_face_split/wider_face_test_filelist.txt'
#   data_prefix=dict(img='WIDER_test/images')
test_dataloader = val_dataloader

val_evaluator = dict(
    type='WIDERFaceMetric',
    protocol='original',
    collect_device='gpu',  # or without one: not through a folder that nodes share
)
test_evaluator = val_evaluator
