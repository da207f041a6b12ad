import json

import numpy as np
import pytest

from mmdet_srn.detector import FaceDetections
from mmdet_srn.detector.frames import Frame
from mmdet_srn.detector.sources import Source
from mmdet_srn.detector.writers import JsonLines, WIDERText
from mmdet_srn.evaluation.detection_files import read_detections

NAME = '2002/07/19/big/img_130'
ELLIPSE = '67.4 44.5 -1.476 105.2 87.2'


def write_ours(writer, folder, location):
    """What our command writes for one image with one face."""
    folder.mkdir(exist_ok=True)
    output = writer(folder)
    box = np.array([[1.5, 2, 11.5, 22]], np.float32)
    faces = FaceDetections(box, np.array([0.75], np.float32), 40, 30)
    source = Source('image', location, None)
    output.write(Frame(source, np.zeros((30, 40, 3), np.uint8)), faces)
    output.close()
    return output.path


@pytest.mark.parametrize(
    ('text', 'rows'),
    [
        (f'{NAME}\n1\n1.5 2 10 20 0.75\n', [[1.5, 2, 10, 20, 0.75]]),
        (f'\n{NAME}.jpg\r\n1\r\n1.5 2 10 20 -7\r\n', [[1.5, 2, 10, 20, -7]]),
        (f'{NAME}\n1\n{ELLIPSE}  1\n', [[*map(float, ELLIPSE.split()), 1]]),
        (f'big/other\n0\n{NAME}\n0\n', []),
        (f'{NAME} .5 1 2 11 22\nx 1 0 0 1 1\n{NAME}.jpg 0.25 0 0 1 1\n', None),
        (f'{NAME} .5 1 2 11 22\nx 1 0 0 1 1\n', [[1, 2, 10, 20, 0.5]]),
    ],
)
def test_usual_files(tmp_path, text, rows):
    path = tmp_path / 'dets.txt'
    path.write_text(text)
    if rows is None:  # with and without a suffix: one image twice
        with pytest.raises(ValueError, match='came before'):
            read_detections(path, [NAME])
        return
    found = read_detections(path, [NAME])
    assert found.rows[NAME].tolist() == rows
    assert found.sizes == {}
    assert len(found.others) == text.count('x ') + text.count('other')


def test_what_our_command_writes(tmp_path):
    rows = [[1.5, 2, 10, 20, 0.75]]
    location = f'/data/originalPics/{NAME}.jpg'
    found = read_detections(write_ours(JsonLines, tmp_path / 'a', location), [NAME])
    assert found.rows[NAME].tolist() == rows
    assert found.sizes == {NAME: (40, 30)}
    wider = write_ours(WIDERText, tmp_path / 'b', 'testimages/1004.jpg')
    found = read_detections(wider, ['1004'])
    assert found.rows['1004'].tolist() == rows
    wider = write_ours(WIDERText, tmp_path / 'c', location)
    with pytest.raises(ValueError, match=r'but big/img_130; .*--format json'):
        read_detections(wider, [NAME])


@pytest.mark.parametrize(
    ('text', 'message'),
    [
        ('', 'dets.txt is empty'),
        ('a\n', ":2: '' is no count"),
        ('a\nb\n', ":2: 'b' is no count"),
        ('a\n-1\n', 'no count'),
        ('a\n2\n1 2 3 4 .5\n', ':4: neither a box'),
        ('a\n1\n1 2 3 4\n', ':3: neither a box'),
        ('a\n1\n1 2 -3 4 .5\n', ':3: neither a box'),
        ('a\n1\n1 2 3 1e9 .5\n', ':3: neither a box'),
        ('a\n1\nnan 2 3 4 .5\n', ':3: neither a box'),
        ('a\n1\n1 2 3 4 inf\n', ':3: neither a box'),
        ('a\n1\n9 5 80 4 5 1\n', ':3: neither a box'),  # degrees
        ('a\n2\n1 2 3 4 1\n9 5 1 4 5 1\n', ':4: boxes and ellipses'),
        ('a\n0\na\n0\n', ':3: the image a came before'),
        ('a .5 1 2 3 4\na .5 1 2 3\n', ':2: not "name score'),
        ('a .5 1 2 3 4\na .5 9 2 3 4\n', ':2: neither a box'),
        ('{"image": "a"}\n', ':1: no line of faces.jsonl: KeyError'),
        ('{"image": "a"\n', ':1: no line of faces.jsonl: JSONDecodeError'),
        ('b\n0\n', r'none of the 1 annotated images, such as a, but b;'),
    ],
)
def test_malformed(tmp_path, text, message):
    path = tmp_path / 'dets.txt'
    path.write_text(text)
    with pytest.raises(ValueError, match=message):
        read_detections(path, ['a'])


@pytest.mark.parametrize(
    'change',
    [
        dict(width=0),
        dict(width=10**9),
        dict(width=float('inf')),
        dict(bboxes=[[0, 0, 1]]),
        dict(bboxes=[[0, 0, 1, None]]),
        dict(bboxes=[[0, 0, 1]] * 4, scores=[1] * 3),
        dict(bboxes=[[0, 0, 1, -1]]),
        dict(bboxes=[[0, 0, 1, 10**400]]),
        dict(scores=[]),
        dict(scores=[float('nan')]),
        dict(bboxes=3),
    ],
)
def test_malformed_json(tmp_path, change):
    image = dict(image='a', width=9, height=9, bboxes=[[0, 0, 1, 1]], scores=[1])
    path = tmp_path / 'faces.jsonl'
    path.write_text(json.dumps(image) + '\n')
    assert read_detections(path, ['a']).rows['a'].tolist() == [[0, 0, 1, 1, 1]]
    path.write_text(
        f'{json.dumps(image | dict(image="b"))}\n{json.dumps(image | change)}\n'
    )
    with pytest.raises(ValueError, match=r'faces.jsonl:2: '):
        read_detections(path, ['a'])
