# Photographs of people from several sources, in WIDER FACE's text layout:
#   data/faces/<source>/...                     the photographs
#   data/faces/splits/<source>_{train,val}.txt  by split_annotation.py
_base_ = 'widerface.py'

data_root = 'data/faces/'
crop_size = (320, 320)

# Most faces there are large: half of the crops give a face the size of a random anchor
# (PyramidBox), the others are the paper's.
train_pipeline = [
    dict(type='LoadAnnotations', with_bbox=True),
    dict(
        type='LoadDataAnchorCrop',
        size=crop_size,
        prob=0.5,
        anchor_scales=(16, 32, 64, 128, 256),
    ),
    dict(type='PhotoMetricDistortion'),
    dict(type='RandomGrayscale', prob=0.1, keep_channels=True),
    dict(type='RandomFlip', prob=0.5),
    dict(type='PlaceInSquare'),
    dict(type='PackDetInputs'),
]


train = dict(
    type='WIDERFaceTxtDataset',
    data_root=data_root,
    filter_cfg=dict(filter_empty_gt=True),
    pipeline=train_pipeline,
    backend_args=None,
)
sources = [
    # crowds, small and turned faces: seen 16 times as often
    dict(
        type='RepeatDataset',
        times=16,
        dataset=dict(
            train,
            ann_file='splits/widerface_mini_train.txt',
            data_prefix=dict(img='widerface_mini/WIDER_train/images'),
        ),
    ),
    dict(
        train,
        ann_file='splits/ilc2021_train.txt',
        data_prefix=dict(img='ilc2021/images'),
    ),
    dict(
        train,
        ann_file='splits/mask853_train.txt',
        data_prefix=dict(img='mask853/images'),
    ),
    dict(
        train,
        ann_file='splits/macwin498_train.txt',
        data_prefix=dict(img='macwin498/images'),
    ),
    dict(
        train, ann_file='splits/agreed_train.txt', data_prefix=dict(img='agreed/images')
    ),
    # scenes without faces
    dict(
        train,
        ann_file='splits/noface274_train.txt',
        data_prefix=dict(img='noface274/images'),
        filter_cfg=dict(filter_empty_gt=False),
    ),
]
train_dataloader = dict(
    dataset=dict(_delete_=True, type='ConcatDataset', datasets=sources)
)
val = dict(
    type='WIDERFaceTxtDataset',
    data_root=data_root,
    test_mode=True,
    pipeline={{_base_.test_pipeline}},
    backend_args=None,
)
val_dataloader = dict(
    dataset=dict(
        _delete_=True,
        type='ConcatDataset',
        datasets=[
            dict(
                val,
                ann_file='splits/widerface_mini_val.txt',
                data_prefix=dict(img='widerface_mini/WIDER_train/images'),
            ),
            dict(
                val,
                ann_file='splits/ilc2021_val.txt',
                data_prefix=dict(img='ilc2021/images'),
            ),
            dict(
                val,
                ann_file='splits/mask853_val.txt',
                data_prefix=dict(img='mask853/images'),
            ),
        ],
    )
)
test_dataloader = val_dataloader
