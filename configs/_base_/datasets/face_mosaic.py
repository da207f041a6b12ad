# A mosaic of real faces on real photographs, 256x256, in WIDER FACE's official layout:
#   python tools/dataset_converters/make_face_mosaic.py data/face_mosaic
#
# Another folder than data/face_mosaic/:
#   --cfg-options train_dataloader.dataset.data_root=DIR \
#                 val_dataloader.dataset.data_root=DIR \
#                 test_dataloader.dataset.data_root=DIR
_base_ = 'widerface.py'

data_root = 'data/face_mosaic/'
crop_size = (256, 256)  # the whole image

# The mosaic varies size, place, contrast and tint itself: no colour augmentation.
train_pipeline = [
    dict(type='LoadImageFromFile', backend_args=None),
    dict(type='LoadAnnotations', with_bbox=True),
    dict(type='RandomFlip', prob=0.5),
    dict(type='Resize', scale=crop_size, keep_ratio=False),
    dict(type='PackDetInputs'),
]

train_dataloader = dict(
    num_workers=1,  # 2 CPU cores: the other one trains
    dataset=dict(
        data_root=data_root,
        filter_cfg=dict(filter_empty_gt=False),  # its empty images are empty
        pipeline=train_pipeline,
    ),
)
val_dataloader = dict(num_workers=1, dataset=dict(data_root=data_root))
test_dataloader = val_dataloader
