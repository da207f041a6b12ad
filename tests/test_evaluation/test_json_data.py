import json

import numpy as np

from mmdet_srn.evaluation.json_data import plain
from mmdet_srn.evaluation.wider_face_analysis import GroupAP


def test_what_json_cannot_hold():
    groups = {0.5: GroupAP(np.nan, 3), 'b': [np.array([[1, -np.inf]]), 'text', None]}
    found = plain(groups)
    assert found == {
        '0.5': dict(ap=None, num_faces=3),
        'b': [[[1, None]], 'text', None],
    }
    assert json.loads(json.dumps(found, allow_nan=False)) == found
