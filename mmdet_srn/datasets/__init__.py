"""WIDER FACE's text layout, COCO's JSON, and transforms to train on them.

The names below are imported when they are asked for: the checks of a data set need no
mmdet.
"""

from .._lazy import lazy_names

__all__ = [
    'FaceCocoDataset',
    'LoadDataAnchorCrop',
    'LoadSquareCrop',
    'PlaceInSquare',
    'RandomSquareCrop',
    'WIDERFaceTxtDataset',
]

__getattr__ = lazy_names(
    __name__,
    {
        'FaceCocoDataset': '.face_coco',
        **dict.fromkeys(__all__[1:5], '.transforms'),
        'WIDERFaceTxtDataset': '.wider_face_txt',
    },
)
