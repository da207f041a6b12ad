# Faces of your own, annotated in COCO's JSON, through mmdet's CocoDataset:
#   data/faces/train/, data/faces/val/           the images
#   data/faces/annotations/{train,val}.json      file_name, width and height of each
#                                                image; bbox (x, y, w, h), area,
#                                                iscrowd, category_id of each face
# CocoDataset leaves out, without a word, faces of a category that is not in classes,
# less than a pixel wide or high, of area 0, or wholly outside their image. With
# iscrowd 1 a face is ignored.
_base_ = 'widerface.py'

data_root = 'data/faces/'
# The category's name in the JSON. One that does not occur stops training at once, with
# 'need at least one array': no image has a face then.
classes = ('face',)

train_dataloader = dict(
    dataset=dict(
        type='CocoDataset',
        data_root=data_root,
        ann_file='annotations/train.json',
        data_prefix=dict(img='train/'),
        metainfo=dict(classes=classes),
    )
)
val_dataloader = dict(
    dataset=dict(
        type='CocoDataset',
        data_root=data_root,
        ann_file='annotations/val.json',
        data_prefix=dict(img='val/'),
        metainfo=dict(classes=classes),
    )
)
test_dataloader = val_dataloader
