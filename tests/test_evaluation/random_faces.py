"""Random images with faces and detections, for property tests."""

import numpy as np
from hypothesis import strategies as st

from mmdet_srn.evaluation import ImageFaces

# A coarse grid makes overlaps, ties and exact thresholds common.
_coordinate = st.integers(-2, 30).map(lambda v: v * 4.0)
_side = st.sampled_from([0.0, 4.0, 12.0, 16.0, 20.0, 32.0, 48.0, 96.0, 100.0])
_box = st.tuples(_coordinate, _coordinate, _side, _side).map(
    lambda b: [b[0], b[1], b[0] + b[2], b[1] + b[3]]
)
_score = st.sampled_from([0.0, 0.1, 0.5, 0.5000001, 0.9, 1.0])


@st.composite
def face_images(draw):
    """An image as dict of lists, with ties, exact overlaps and ignored faces."""
    gt_bboxes = draw(st.lists(_box, max_size=5))
    bboxes = draw(st.lists(st.one_of(_box, *map(st.just, gt_bboxes)), max_size=7))
    return dict(
        bboxes=bboxes,
        scores=[draw(_score) for _ in bboxes],
        gt_bboxes=gt_bboxes,
        gt_ignored=[draw(st.booleans()) for _ in gt_bboxes],
    )


def to_arrays(image):
    return ImageFaces(
        np.array(image['bboxes'], float).reshape(-1, 4),
        np.array(image['scores'], float),
        np.array(image['gt_bboxes'], float).reshape(-1, 4),
        np.array(image['gt_ignored'], bool),
    )
