import copy
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmdet_srn.datasets.coco_json_reader import (
    REASONS,
    describe_categories,
    judge_face,
    parse_coco_json,
)
from mmdet_srn.datasets.wider_face_txt_reader import AnnotationError

IMAGE = dict(id=1, file_name='e/a.jpg', width=64, height=48)
FACE = dict(id=5, image_id=1, category_id=7, bbox=[1, 2, 3.5, 4], area=14.0)
CONTENT = dict(
    images=[IMAGE, dict(IMAGE, id=2, file_name='e/b.jpg')],
    annotations=[FACE, dict(FACE, id=6, image_id=99)],
    categories=[dict(id=7, name='face'), dict(id=8, name='head')],
)


def _changed(path, value):
    """The content with one value changed, or removed if it is None."""
    content = copy.deepcopy(CONTENT)
    *keys, last = path
    entry = content
    for key in keys:
        entry = entry[key]
    if value is None:
        del entry[last]
    else:
        entry[last] = value
    return json.dumps(content).encode()


def test_sound():
    content = parse_coco_json(json.dumps(CONTENT).encode(), 'x.json')
    assert content == CONTENT
    assert describe_categories(content) == "'face', 'head'"


@pytest.mark.parametrize(
    ('path', 'value', 'message'),
    [
        (['images'], None, 'the file has no images'),
        (['categories'], {}, 'categories'),
        (['images', 0], 3, 'image 1 is not an object'),
        (['images', 0, 'id'], None, 'image 1 has no id'),
        (['images', 0, 'id'], [], 'image 1: id'),
        (
            ['images', 1, 'id'],
            1,
            'two images have id 1 .file_name: e/a.jpg and e/b.jpg',
        ),
        (['images', 0, 'file_name'], None, 'image 1 has no file_name'),
        (['images', 0, 'file_name'], 'a\0b.jpg', 'file_name'),
        (['images', 1, 'file_name'], 'e\\a.jpg', 'images 1 and 2 .* e/a.jpg'),
        (['images', 0, 'width'], None, 'e/a.jpg has no width'),
        (['images', 0, 'height'], None, 'e/a.jpg has no height'),
        (['images', 0, 'height'], '48', 'e/a.jpg: height'),
        (['images', 0, 'width'], float('nan'), 'e/a.jpg: width is nan'),
        (['images', 0, 'width'], 0, 'e/a.jpg: width is 0'),
        (['images', 0, 'width'], 10**400, 'e/a.jpg: width is 1000'),
        (['annotations', 0, 'area'], None, 'annotation 5 of e/a.jpg has no area'),
        (['annotations', 0, 'bbox'], None, 'annotation 5 of e/a.jpg has no bbox'),
        (['annotations', 0, 'bbox'], [1, 2, 3], 'annotation 5 of e/a.jpg: bbox'),
        (['annotations', 0, 'bbox'], [1, 2, 3, '4'], 'annotation 5 of e/a.jpg: bbox'),
        (['annotations', 0, 'category_id'], None, 'a.jpg has no category_id'),
        (['annotations', 0, 'image_id'], None, 'annotation 5 has no image_id'),
        (['annotations', 1, 'id'], 5, 'two annotations have id 5'),
        (['categories', 0, 'name'], None, 'category 7 has no name'),
    ],
)
def test_faults(path, value, message):
    with pytest.raises(AnnotationError, match=message) as caught:
        parse_coco_json(_changed(path, value), 'some/x.json')
    assert str(caught.value).startswith('some/x.json: ')


@pytest.mark.parametrize('data', [b'', b'{', b'\xff', b'[' * 10**5, b'1', b'[]'])
def test_no_annotation_at_all(data):
    with pytest.raises(AnnotationError, match='x.json: '):
        parse_coco_json(data, 'x.json')


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner),
    max_leaves=5,
)


@settings(max_examples=50)
@given(st.sampled_from(['images', 'annotations', 'categories']), st.data())
def test_any_value_is_read_or_refused_with_the_files_name(part, data):
    content = copy.deepcopy(CONTENT)
    entry = data.draw(st.sampled_from(content[part]))
    entry[data.draw(st.sampled_from(sorted(entry)))] = data.draw(JSON)
    try:
        content = parse_coco_json(json.dumps(content).encode(), 'x.json')
    except AnnotationError as error:
        assert str(error).startswith('x.json: ')
        return
    images = {image['id']: image for image in content['images']}
    for face in content['annotations']:
        verdict = judge_face(face, images.get(face['image_id']), [7])
        assert verdict in ('', *REASONS)


@pytest.mark.parametrize(
    ('change', 'verdict'),
    [
        (dict(), ''),
        (dict(iscrowd=1), ''),
        (dict(bbox=[-2, -3, 3, 4]), ''),
        (dict(bbox=[1, 2, float('nan'), 4]), 'not_finite'),
        (dict(bbox=[1, float('inf'), 3, 4]), 'not_finite'),
        (dict(bbox=[1, 2, 10**400, 4]), 'not_finite'),
        (dict(area=float('nan')), 'not_finite'),
        (dict(category_id=8), 'category'),
        (dict(ignore=1), 'ignore'),
        (dict(bbox=[64, 0, 9, 9]), 'outside'),
        (dict(bbox=[0, -9, 9, 9]), 'outside'),
        (dict(bbox=[0, 0, 0.9, 9]), 'small'),
        (dict(area=0), 'area'),
    ],
)
def test_verdicts(change, verdict):
    assert judge_face({**FACE, **change}, IMAGE, [7]) == verdict
    assert judge_face(FACE, None, [7]) == 'image'
