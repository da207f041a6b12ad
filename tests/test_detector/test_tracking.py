import sys
from pathlib import PurePath

import numpy as np
import pytest

from mmdet_srn.detector.frames import Frame
from mmdet_srn.detector.sources import Source
from mmdet_srn.detector.tracking import FaceTracker
from tests.test_detector.shown import PIXELS, faces_at

A, B = (Source('video', name, PurePath(name)) for name in 'ab')


def test_missing_library(monkeypatch):
    monkeypatch.setitem(sys.modules, 'trackers', None)
    with pytest.raises(ImportError, match=r'mmdet_srn\[track\]'):
        FaceTracker()


def test_ids_over_frames():
    pytest.importorskip('trackers')
    tracker = FaceTracker()
    one, two = np.array([10, 10, 30, 34]), np.array([60, 20, 80, 44])
    ids = []
    for i in range(8):
        boxes = [one + 2 * i, two] if i % 2 else [two, one + 2 * i]
        if i == 4:  # missed once; nothing is found in the frame after
            boxes = boxes[:1]
        faces = faces_at(PIXELS, *(boxes if i != 5 else ()))
        faces = tracker(Frame(A, PIXELS, i, 10.0), faces)
        assert faces.ids.shape == (len(faces),)
        ids.append(faces.ids.tolist())
    assert ids[0] == [-1, -1]
    (first, second) = ids[1]
    assert {first, second} == {0, 1}
    assert ids[2:] == [[second, first], [first, second], [second], []] + [
        *([second, first], [first, second])
    ]
    # Another video starts anew; images have no ids.
    alone = faces_at(PIXELS, one)
    again = [tracker(Frame(B, PIXELS, i, 10.0), alone).ids.tolist() for i in range(2)]
    assert again == [[-1], [0]]
    picture = Frame(Source('image', 'x.png', PurePath('x')), PIXELS)
    assert tracker(picture, alone).ids is None
