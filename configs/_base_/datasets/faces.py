# Photographs of people from several sources, in WIDER FACE's text layout:
#   data/faces/<source>/...                     the photographs
#   data/faces/splits/<source>_{train,val}.txt  by convert_annotations.py
_base_ = 'widerface.py'

data_root = 'data/faces/'
crop_size = (320, 320)

# Half of the crops give a face the size of a random anchor (PyramidBox). The others are
# smaller than the paper's: 320 pixels are few, and half of the faces of WIDER FACE have
# at most 12 of 1024, which must not shrink.
train_pipeline = [
    dict(type='LoadAnnotations', with_bbox=True),
    dict(
        type='LoadDataAnchorCrop',
        size=crop_size,
        prob=0.5,
        anchor_scales=(12, 24, 48, 96, 192),
        ratio_range=(0.2, 0.8),
        full_prob=0.1,
        expand_prob=0.1,
    ),
    dict(type='DegradeImage'),
    dict(type='PhotoMetricDistortion'),
    dict(type='RandomGrayscale', prob=0.1, keep_channels=True),
    dict(type='RandomFlip', prob=0.5),
    dict(type='PlaceInSquare'),
    dict(type='PackDetInputs'),
]

folders = dict(
    widerface_mini='widerface_mini/WIDER_train/images',
    ilc2021='ilc2021/images',
    mask853='mask853/images',
    macwin498='macwin498/images',
    agreed='agreed/images',
    noface274='noface274/images',  # scenes without faces
)
train = {
    name: dict(
        type='WIDERFaceTxtDataset',
        data_root=data_root,
        ann_file=f'splits/{name}_train.txt',
        data_prefix=dict(img=folder),
        filter_cfg=dict(filter_empty_gt=name != 'noface274'),
        pipeline=train_pipeline,
        backend_args=None,
    )
    for name, folder in folders.items()
}
# crowds, small and turned faces: seen 16 times as often
train['widerface_mini'] = dict(
    type='RepeatDataset', times=16, dataset=train['widerface_mini']
)
train_dataloader = dict(
    dataset=dict(_delete_=True, type='ConcatDataset', datasets=list(train.values()))
)
val = [
    dict(
        type='WIDERFaceTxtDataset',
        data_root=data_root,
        ann_file=f'splits/{name}_val.txt',
        data_prefix=dict(img=folders[name]),
        test_mode=True,
        pipeline={{_base_.test_pipeline}},
        backend_args=None,
    )
    for name in ('widerface_mini', 'ilc2021', 'mask853')
]
val_dataloader = dict(dataset=dict(_delete_=True, type='ConcatDataset', datasets=val))
test_dataloader = val_dataloader
