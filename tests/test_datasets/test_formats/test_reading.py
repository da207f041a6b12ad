"""Each format is recognised and read to the same faces; mistakes are named."""

import json

import pytest

from mmdet_srn.datasets import WIDERFaceTxtDataset
from mmdet_srn.datasets.formats import clean, hint, read_annotation, recognise
from mmdet_srn.datasets.wider_face_txt_reader import AnnotationError

from .exports import (
    EXPORTS,
    FACES,
    HEIGHT,
    IGNORED,
    WIDTH,
    datumaro,
    labelme,
    lines,
    retinaface,
    voc,
    wider_face,
    yolo,
)


@pytest.mark.parametrize('export', EXPORTS, ids=lambda export: export.__name__)
def test_same_faces(export, tmp_path):
    kind, has_ignored = EXPORTS[export]
    source = export(tmp_path)
    name, images = read_annotation(source)
    assert name == kind
    folder = tmp_path
    kept, left_out = clean(images, folder)
    assert not any(left_out.values())
    found = {image.path.removeprefix('images/'): image for image in kept}
    unlisted = {name for name in FACES if name not in found}
    assert unlisted <= {'b/none.jpg'}  # a list of faces has no image without one
    for path, image in found.items():
        assert image.size == (WIDTH, HEIGHT)
        boxes = [face.box for face in image.faces]
        assert boxes == [pytest.approx(box, abs=1e-6) for box in FACES[path]]
        for number, face in enumerate(image.faces):
            assert face.ignored == (has_ignored and (path, number) == IGNORED)


@pytest.mark.parametrize(
    ('text', 'word'),
    [
        ('', 'empty'),
        ('0 .5 .5 .1 .1\n0 .2 .2 .1 .1\n', 'one text for each image'),
        ('a/1.jpg\na/2.jpg\n', 'lists files'),
        ('a/1.jpg\n1\n1.0 2.0 3.0\n1.0 2.0 3.0 4.0\n', 'faces.txt:3'),
        ('a/1.jpg\n3\n1.0 2.0 3.0 4.0\n', 'ends'),
        ('a/1.jpg\n1\n1.0 2.0 nan 4.0\n', 'faces.txt:3: .* finite'),
        ('# a/1.jpg\n1 2 3\n', 'faces.txt:2'),
        ('a/1 1 2 3 4\na/2 1 2 3 4 5\n', 'faces.txt:2'),
    ],
)
def test_malformed_text_is_named(text, word, tmp_path):
    path = tmp_path / 'faces.txt'
    path.write_text(text)
    with pytest.raises(AnnotationError, match=word):
        read_annotation(path)


@pytest.mark.parametrize(
    ('name', 'text', 'word'),
    [
        ('faces.csv', 'a.jpg,1,2,3,4\n', 'header'),
        ('faces.csv', 'path,xmin,ymin,xmax,ymax\na.jpg,1,2,x,4\n', 'csv:2'),
        ('faces.json', '[1]', 'neither'),
        ('faces.json', '{', 'not JSON'),
        ('one.json', '{"shapes": [{"label": "face"}]}', 'one.json'),
        ('one.xml', '<annotation><object>', 'one.xml'),
        ('one.xml', '<annotation><object></object></annotation>', 'bndbox/xmin'),
        ('one.xml', '<annotations></annotations>', 'CVAT'),
        ('one.xml', '<?xml version="1.0" encoding="foo"?><annotation/>', 'one.xml'),
        ('one.json', '{"shapes": [], "imageWidth": 1e400, "imageHeight": 1}', 'one'),
    ],
)
def test_malformed_file_is_named(name, text, word, tmp_path):
    path = tmp_path / name
    path.write_text(text)
    with pytest.raises(AnnotationError, match=word):
        read_annotation(path)


def test_expanding_xml_is_refused(tmp_path):
    entities = '<!ENTITY e0 "aaaaaaaaaa">' + ''.join(
        f'<!ENTITY e{n} "{f"&e{n - 1};" * 10}">' for n in range(1, 10)
    )
    text = f'<!DOCTYPE a [{entities}]><annotation><folder>&e9;</folder></annotation>'
    path = tmp_path / 'one.xml'
    path.write_text(text)
    with pytest.raises(AnnotationError, match='one.xml'):
        read_annotation(path)


@pytest.mark.parametrize(
    ('row', 'word'),
    [
        ('1 .5 .5 .1 .1', 'class 1'),
        ('0 160 100 20 20', 'pixels'),
        ('0 .5 .5 .1', 'columns'),
        ('face .5 .5 .1 .1', 'face'),
    ],
)
def test_malformed_yolo_is_named(row, word, tmp_path):
    yolo(tmp_path)
    (tmp_path / 'labels/a/two.txt').write_text(f'0 .5 .5 .1 .1\n{row}\n')
    with pytest.raises(AnnotationError, match=f'two.txt:2.*{word}'):
        read_annotation(tmp_path)


def test_yaml_runs_no_code(tmp_path):
    yolo(tmp_path)
    (tmp_path / 'data.yaml').write_text('names: !!python/object/apply:os.getcwd []')
    with pytest.raises(AnnotationError, match=r'data\.yaml'):
        read_annotation(tmp_path)


def test_labelme_circle(tmp_path):
    labelme(tmp_path)
    path = tmp_path / 'a/two.json'
    content = json.loads(path.read_text())
    content['shapes'] = [
        dict(label='face', shape_type='circle', points=[[50, 60], [53, 64]])
    ]
    path.write_text(json.dumps(content))
    (image,) = read_annotation(path)[1]
    assert image.faces[0].box == (45, 55, 55, 65)


def test_image_folder_of_voc(tmp_path):
    voc(tmp_path / 'x')
    (tmp_path / 'JPEGImages').mkdir()
    (tmp_path / 'x/a').rename(tmp_path / 'Annotations')
    (tmp_path / 'Annotations/one.jpg').rename(tmp_path / 'JPEGImages/one.jpg')
    paths = [image.path for image in read_annotation(tmp_path)[1]]
    assert paths[:2] == ['JPEGImages/one.jpg', 'Annotations/two.jpg']


def test_folder_of_a_roboflow_split(tmp_path):
    (tmp_path / '_annotations.coco.json').write_text('{}')
    with pytest.raises(AnnotationError, match=r'_annotations\.coco\.json'):
        recognise(tmp_path)
    (tmp_path / 'empty').mkdir()
    with pytest.raises(AnnotationError, match='no annotation'):
        recognise(tmp_path / 'empty')


@pytest.mark.parametrize(
    ('export', 'word'),
    [(datumaro, 'CVAT'), (retinaface, 'RetinaFace'), (lines, 'one line')],
)
def test_data_set_names_the_format(export, word, tmp_path):
    path = export(tmp_path)
    with pytest.raises(AnnotationError, match=f'{word}.*convert_annotations'):
        WIDERFaceTxtDataset(ann_file=str(path), data_prefix=dict(img=str(tmp_path)))


def test_data_set_explains_rows_without_images(tmp_path):
    path = tmp_path / 'faces.txt'
    path.write_text('0 .5 .5 .1 .1\n')
    with pytest.raises(AnnotationError, match='YOLO'):
        WIDERFaceTxtDataset(ann_file=str(path), data_prefix=dict(img=str(tmp_path)))


def test_no_hint_where_there_is_none_to_give(tmp_path):
    assert hint(wider_face(tmp_path)) == ''
    assert hint('s3://bucket/faces.txt') == ''


def test_landmarks_of_yolo_are_left_out(tmp_path):
    yolo(tmp_path)
    text = tmp_path / 'labels/a/two.txt'
    points = '.45 .45 .55 .45 .5 .5 .46 .56 .54 .56'
    unknown = ' '.join(['-1'] * 10)
    polygon = '.1 .5 .2 .3 .4 .1 .6 .1 .8 .3 .9 .5 .5 .9'
    text.write_text(f'0 .5 .5 .2 .2 {points}\n0 .5 .5 .2 .2 {unknown}\n0 {polygon}\n')
    images = {image.path: image for image in read_annotation(tmp_path)[1]}
    boxes = [face.box for face in images['images/a/two.jpg'].faces]
    assert boxes == [
        pytest.approx((0.4, 0.4, 0.6, 0.6)),
        pytest.approx((0.4, 0.4, 0.6, 0.6)),
        pytest.approx((0.1, 0.1, 0.9, 0.9)),
    ]


@pytest.mark.parametrize('place', ['data.yaml', '../data.yaml', 'classes.txt'])
def test_where_yolo_names_its_classes(place, tmp_path):
    folder = yolo(tmp_path / 'train')
    (folder / 'data.yaml').unlink()
    text = 'hat\n' if place.endswith('.txt') else 'names: [hat]'
    (folder / place).write_text(text)
    images = read_annotation(folder)[1]
    assert {face.label for image in images for face in image.faces} == {'hat'}


@pytest.mark.parametrize('export', [voc, labelme])
def test_what_lies_beside_the_annotations(export, tmp_path):
    """Upper-case suffixes are read, macOS's and other tools' files are not."""
    export(tmp_path)
    (path,) = [p for p in tmp_path.rglob('two.*') if p.suffix != '.jpg']
    path.rename(path.with_suffix(path.suffix.upper()))
    (tmp_path / f'a/._one{path.suffix}').write_bytes(b'\0')
    (tmp_path / 'train.json').write_text('{"images": []}')
    assert len(read_annotation(tmp_path)[1]) == 3


def test_voc_takes_the_image_of_its_own_name(tmp_path):
    voc(tmp_path)
    path = tmp_path / 'a/two.xml'
    path.write_text(path.read_text().replace('two.jpg', 'one.jpg'))
    paths = [image.path for image in read_annotation(tmp_path)[1]]
    assert sorted(paths) == sorted(FACES)


def test_yolo_with_byte_order_mark(tmp_path):
    yolo(tmp_path)
    path = tmp_path / 'labels/a/two.txt'
    path.write_text('\ufeff' + path.read_text(), encoding='utf-8')
    assert sum(len(image.faces) for image in read_annotation(tmp_path)[1]) == 4
