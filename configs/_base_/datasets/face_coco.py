# Faces of your own, annotated in COCO's JSON:
#   data/faces/train/, data/faces/val/           the images
#   data/faces/annotations/{train,val}.json      file_name, width and height of each
#                                                image; bbox (x, y, w, h), area,
#                                                iscrowd, category_id of each face
# Boxes are in pixels of the image as displayed. Faces of a category that is not in
# classes, less than a pixel wide or high, of area 0, or wholly outside their image are
# left out, with a warning. With iscrowd 1 a face is ignored.
_base_ = 'widerface.py'

data_root = 'data/faces/'
# The category's name in the JSON.
classes = ('face',)

train_dataloader = dict(
    dataset=dict(
        type='FaceCocoDataset',
        data_root=data_root,
        ann_file='annotations/train.json',
        data_prefix=dict(img='train/'),
        metainfo=dict(classes=classes),
    )
)
val_dataloader = dict(
    dataset=dict(
        type='FaceCocoDataset',
        data_root=data_root,
        ann_file='annotations/val.json',
        data_prefix=dict(img='val/'),
        metainfo=dict(classes=classes),
    )
)
test_dataloader = val_dataloader
