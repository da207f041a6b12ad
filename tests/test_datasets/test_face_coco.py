import json
import logging
import pickle

import cv2
import numpy as np
import pytest
from mmdet.registry import DATASETS
from PIL import ExifTags, Image

import mmdet_srn  # noqa: F401


@pytest.fixture
def content(tmp_path):
    """Two images of two faces each, and one without."""
    for name in 'abc':
        cv2.imwrite(str(tmp_path / f'{name}.jpg'), np.zeros((48, 64, 3), np.uint8))
    face = dict(category_id=3, bbox=[1, 2, 30, 40], area=1200, iscrowd=0)
    return dict(
        images=[
            dict(id=i, file_name=f'{name}.jpg', width=64, height=48)
            for i, name in enumerate('abc')
        ],
        annotations=[dict(face, id=i, image_id=i // 2) for i in range(4)],
        categories=[dict(id=3, name='face')],
    )


def _build(folder, content, **options):
    (folder / 'x.json').write_text(json.dumps(content))
    options = dict(filter_cfg=dict(filter_empty_gt=True), **options)
    prefix = dict(img=str(folder))
    config = dict(type='FaceCocoDataset', ann_file=str(folder / 'x.json'))
    return DATASETS.build(dict(config, data_prefix=prefix, pipeline=[], **options))


def _messages(log, level=logging.WARNING):
    return [r.getMessage() for r in log if r.levelno == level and 'x.json' in r.msg]


def test_backslashes_of_windows(tmp_path, content):
    (tmp_path / 's').mkdir()
    (tmp_path / 'a.jpg').rename(tmp_path / 's/a.jpg')
    content['images'][0]['file_name'] = 's\\a.jpg'
    path = _build(tmp_path, content).get_data_info(0)['img_path']
    assert path == str(tmp_path / 's/a.jpg')


def test_corners_taken_for_sizes(tmp_path, content, log):
    for face in content['annotations']:
        face['bbox'] = [20, 10, 50, 40]
    _build(tmp_path, content)
    assert any('--corners' in message for message in _messages(log))


def test_sound(tmp_path, content, log):
    dataset = _build(tmp_path, content)
    assert len(dataset) == 2
    assert len(_build(tmp_path, content, test_mode=True)) == 3
    assert not _messages(log)
    assert '4 of 4 faces used' in _messages(log, logging.INFO)[0]
    assert len(pickle.loads(pickle.dumps(dataset))) == 2  # as spawned workers get it


def test_what_is_left_out_is_counted(tmp_path, content, log):
    faces = content['annotations']
    faces[0]['area'] = 0
    faces[1]['bbox'] = [1, 2, float('nan'), 4]
    faces[2]['category_id'] = 4
    dataset = _build(tmp_path, content)
    assert len(dataset) == 1  # no face of the first image is left
    assert dataset.get_data_info(0)['img_id'] == 1
    (message,) = _messages(log)
    assert '1 of 4 faces used' in message
    for word in ('1 of area 0', '1 with NaN', '1 of another category'):
        assert word in message


@pytest.mark.parametrize('test_mode', [False, True])
@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (dict(area=0), '0 of 4 faces used .4 of area 0'),
        (dict(category_id=9), "4 of another category.*categories are 'face'"),
        (dict(iscrowd=1), '4 of 4 faces used: no face to find'),
        (dict(bbox=[500, 0, 9, 9]), '4 outside .* EXIF'),
        (dict(image_id=9), '4 of an image that is not listed'),
    ],
)
def test_nothing_left(tmp_path, content, change, message, test_mode):
    for face in content['annotations']:
        face.update(change)
    with pytest.raises(ValueError, match=f'x.json: .*{message}'):
        _build(tmp_path, content, test_mode=test_mode)


def test_another_name_of_the_category(tmp_path, content):
    content['categories'][0]['name'] = 'Face'
    with pytest.raises(ValueError, match="categories are 'Face', .*classes is .'face'"):
        _build(tmp_path, content)
    assert len(_build(tmp_path, content, metainfo=dict(classes=('Face',)))) == 2


def test_no_annotation(tmp_path, content):
    """A test set for its detections alone."""
    content['annotations'] = []
    assert len(_build(tmp_path, content, test_mode=True)) == 3
    with pytest.raises(ValueError, match='0 of 0 faces used: no face to find'):
        _build(tmp_path, content)


def test_several_images_of_one_id(tmp_path, content):
    content['images'][1]['id'] = 0
    with pytest.raises(ValueError, match='x.json: two images have id 0.*a.jpg and b'):
        _build(tmp_path, content)


def test_sizes_from_before_a_rotation(tmp_path, content, log):
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    Image.open(tmp_path / 'a.jpg').save(tmp_path / 'a.jpg', exif=exif)
    content['images'][1]['width'] = 65
    (tmp_path / 'c.jpg').unlink()  # stops the run when it is its turn
    _build(tmp_path, content)
    (message,) = _messages(log)
    assert '2 of 3 images have another size' in message
    assert '1 of them turned by 90 degrees' in message
    assert 'a.jpg is 48x64 as displayed, not 64x48' in message


def test_classes_in_another_order_than_the_categories(tmp_path, content):
    """mmdet numbers them in the order of the file."""
    content['categories'].append(dict(id=5, name='mask'))
    content['annotations'][0]['category_id'] = 5
    for classes in (('mask', 'face'), ('hat', 'mask')):
        with pytest.raises(ValueError, match=r'in\s+this order'):
            _build(tmp_path, content, metainfo=dict(classes=classes))
    for classes in (('face', 'mask'), ('face', 'mask', 'hat'), ('mask',)):
        assert len(_build(tmp_path, content, metainfo=dict(classes=classes)))
