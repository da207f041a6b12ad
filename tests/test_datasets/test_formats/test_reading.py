"""Each format is recognised and read to the same faces; mistakes are named."""

import json
import re

import pytest
from mmdet.datasets import CocoDataset

from mmdet_srn.datasets import WIDERFaceTxtDataset
from mmdet_srn.datasets.formats import (
    clean,
    hint,
    read_annotation,
    recognise,
    write_annotation,
)
from mmdet_srn.datasets.wider_face_txt_reader import AnnotationError

from .exports import (
    EXPORTS,
    FACES,
    HEIGHT,
    IGNORED,
    WIDTH,
    coco,
    csv,
    datumaro,
    keras,
    labelme,
    lines,
    retinaface,
    voc,
    wider_face,
    write_images,
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
        ('a/1.jpg 1,2,3,4,0\na/2.jpg 1,2,3,4,7\n', 'faces.txt:2.*class 7'),
        ('a.jpg 1,2,3,4,0\nb.jpg 1,2,3,4,0 1,2,3\nc.jpg 1,2,3,4,0\n', 'faces.txt:2'),
        ('a.jpg 1 2 3 4\nb.jpg 1 2 3 x\nc.jpg 1 2 3 4\n', 'faces.txt:2.*x'),
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


def test_one_line_a_face(tmp_path):
    write_images(tmp_path)
    source = tmp_path / 'faces.txt'
    rows = [(name, box) for name, boxes in FACES.items() for box in boxes]
    text = ''.join(f'{name} {" ".join(map(str, box))}\n' for name, box in rows)
    source.write_text(text)
    name, images = read_annotation(source)
    assert name == 'lines'
    boxes = {image.path: [face.box for face in image.faces] for image in images}
    assert len(images) == 2
    assert boxes == {name: boxes for name, boxes in FACES.items() if boxes}


@pytest.mark.parametrize('export', [voc, labelme])
@pytest.mark.parametrize(
    ('annotations', 'images'),
    [
        ('Annotations', 'JPEGImages'),
        ('x/annotations/train', 'x/images/train'),
        ('labels', 'photos'),  # as the file says
        ('all', 'all/photos'),
    ],
)
def test_images_in_another_folder(annotations, images, export, tmp_path):
    export(tmp_path / 'made')
    for kind, place in (
        ('.xml', annotations),
        ('.json', annotations),
        ('.jpg', images),
    ):
        for path in sorted((tmp_path / 'made').rglob(f'*{kind}')):
            (tmp_path / 'data' / place).mkdir(parents=True, exist_ok=True)
            path = path.rename(tmp_path / 'data' / place / path.name)
            if kind == '.xml':
                text = '<annotation><folder>C:\\mine\\photos</folder>'
                path.write_text(path.read_text().replace('<annotation>', text))
            if kind == '.json':
                content = json.loads(path.read_text())
                content['imagePath'] = f'C:\\mine\\photos\\{content["imagePath"]}'
                path.write_text(json.dumps(content))
    _, read = read_annotation(tmp_path / 'data')
    assert sorted(image.path for image in read) == sorted(
        f'{images}/{name}.jpg' for name in ('one', 'two', 'none')
    )


def test_annotations_alone_with_images_named(tmp_path):
    """Either folder may be anywhere."""
    for export in (yolo, voc):
        export(tmp_path / export.__name__)
    write_images(tmp_path / 'photos')
    for path in (tmp_path / 'voc').rglob('*.jpg'):
        path.unlink()
    for source in (tmp_path / 'yolo/labels', tmp_path / 'voc'):
        kept, left_out = clean(read_annotation(source)[1], tmp_path / 'photos')
        assert not left_out['missing']
        found = {image.path: len(image.faces) for image in kept}
        assert found == {n: len(b) for n, b in FACES.items() if b or n in found}


@pytest.mark.parametrize(
    'size', ['<size/>', '<size><width></width><height/></size>', '']
)
def test_voc_without_a_size(size, tmp_path):
    voc(tmp_path)
    path = tmp_path / 'a/two.xml'
    path.write_text(re.sub('<size>.*</size>', size, path.read_text()))
    (image,) = read_annotation(path)[1]
    assert image.size is None
    assert image.faces[0].box == FACES['a/two.jpg'][0]


def test_yolo_texts_without_an_image_are_counted(tmp_path):
    yolo(tmp_path)
    (tmp_path / 'images/a/two.jpg').unlink()
    (tmp_path / 'labels/classes.txt').write_text('face\n')
    (tmp_path / 'train.txt').write_text('images/a/one.jpg\n')
    kept, left_out = clean(read_annotation(tmp_path)[1], tmp_path)
    assert left_out['missing'] == ['labels/a/two']
    assert len(kept) == 2


def test_yolo_texts_of_one_image(tmp_path):
    """Such as one that an earlier export left beside the image."""
    yolo(tmp_path)
    (tmp_path / 'images/a/two.txt').write_text('0 .2 .2 .1 .1\n')
    with pytest.raises(AnnotationError, match='images/a/two.jpg .*labels/a/two.txt:1'):
        clean(read_annotation(tmp_path)[1], tmp_path)


def test_yolo_labels_in_a_folder_beside_the_images(tmp_path):
    yolo(tmp_path)
    (tmp_path / 'images/a/one.jpg').rename(tmp_path / 'one.jpg')
    (tmp_path / 'labels/a/one.txt').rename(tmp_path / 'labels/one.txt')
    images = {image.path: image.faces for image in read_annotation(tmp_path)[1]}
    assert len(images['one.jpg']) == 3


@pytest.mark.parametrize('export', [coco, csv, keras])
def test_folder_of_a_roboflow_export(export, tmp_path):
    for part in ('train', 'valid'):
        path = export(tmp_path / part)
        kind = '.coco' * (export is coco)
        path.rename(path.with_name(f'_annotations{kind}{path.suffix}'))
    name, images = read_annotation(tmp_path)
    assert name == EXPORTS[export][0]
    kept, left_out = clean(images, tmp_path)
    assert not any(left_out.values())
    boxes = {image.path: [face.box for face in image.faces] for image in kept}
    assert boxes == {
        f'{p}/{n}': b for p in ('train', 'valid') for n, b in FACES.items()
    }


@pytest.mark.parametrize('export', [coco, csv, retinaface, wider_face])
def test_folder_with_one_file_for_all(export, tmp_path):
    path = export(tmp_path)
    with pytest.raises(AnnotationError, match=f'name the file .*{path.name}.*--images'):
        recognise(tmp_path)


def test_coco_whose_boxes_are_corners(tmp_path):
    source = coco(tmp_path)
    content = json.loads(source.read_text())
    for face in content['annotations']:
        x, y, w, h = face['bbox']
        face['bbox'] = [x, y, x + w, y + h]
    source.write_text(json.dumps(content))
    _, images = read_annotation(source, corners=True)
    boxes = {image.path: [face.box for face in image.faces] for image in images}
    assert boxes == FACES


def test_ignore_of_coco(tmp_path):
    source = coco(tmp_path)
    source.write_text(source.read_text().replace('"iscrowd"', '"ignore"'))
    ignored = [
        (image.path, number)
        for image in read_annotation(source)[1]
        for number, face in enumerate(image.faces)
        if face.ignored
    ]
    assert ignored == [IGNORED]


def test_folders_that_are_not_understood(tmp_path):
    (tmp_path / 'empty').mkdir()
    with pytest.raises(AnnotationError, match='no annotation'):
        recognise(tmp_path / 'empty')
    for export, part, name in ((coco, 'a', '.coco.json'), (csv, 'b', '.csv')):
        path = export(tmp_path / part)
        path.rename(path.with_name(f'_annotations{name}'))
    with pytest.raises(AnnotationError, match='several formats'):
        recognise(tmp_path)


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


def test_landmarks_of_yolo(tmp_path):
    yolo(tmp_path)
    text = tmp_path / 'labels/a/two.txt'
    points = '.45 .45 .55 .45 .5 .5 .46 .56 .54 .56'
    unknown = ' '.join(['-1'] * 10)
    seen = '.45 .45 2 .55 .45 1 .5 .5 2 .46 .56 2 0 0 0'
    polygon = '.1 .5 .2 .3 .4 .1 .6 .1 .8 .3 .9 .5 .5 .9'
    rows = [f'0 .5 .5 .2 .2 {rest}' for rest in (points, unknown, seen)]
    text.write_text('\n'.join([*rows, f'0 {polygon}']))
    images = {image.path: image for image in read_annotation(tmp_path)[1]}
    faces = images['images/a/two.jpg'].faces
    boxes = [face.box for face in faces]
    assert boxes[:3] == [pytest.approx((0.4, 0.4, 0.6, 0.6))] * 3
    assert boxes[3] == pytest.approx((0.1, 0.1, 0.9, 0.9))
    assert faces[0].keypoints[:6] == (0.45, 0.45, 2, 0.55, 0.45, 2)
    assert faces[2].keypoints == tuple(map(float, seen.split()))
    assert faces[1].keypoints == faces[3].keypoints == ()


def test_landmarks_of_retinaface_are_kept_in_coco(tmp_path):
    source = retinaface(tmp_path)
    lines = source.read_text().split('\n')
    points = '14 25 0.0 30 25 1.0 22 30 0.0 16 40 0.0 -1.0 -1.0 -1.0'
    lines[1] = f'10 20 30 40 {points} 0.82'
    source.write_text('\n'.join(lines))
    kept, _ = clean(read_annotation(source)[1], tmp_path)
    out = tmp_path / 'out.json'
    assert 'landmarks' not in write_annotation(out, kept, ['face'])
    first, *others = json.loads(out.read_text())['annotations']
    assert first['keypoints'] == [
        *(14, 25, 2, 30, 25, 1, 22, 30, 2, 16, 40, 2, 0, 0, 0),
    ]
    assert first['num_keypoints'] == 4
    assert not any('keypoints' in face for face in others)
    # They survive another conversion, mmdet's data set ignores them, the text says so.
    again, _ = clean(read_annotation(out)[1], tmp_path)
    first, second = (
        [(face.box, face.keypoints) for image in images for face in image.faces]
        for images in (kept, again)
    )
    assert first == second
    dataset = CocoDataset(
        ann_file=str(out),
        data_prefix=dict(img=str(tmp_path)),
        metainfo=dict(classes=('face',)),
        test_mode=True,
    )
    assert dataset.get_data_info(0)['instances'][0]['bbox'] == [10, 20, 40, 60]
    text = write_annotation(tmp_path / 'out.txt', kept, ['face'])
    assert 'landmarks of 1 left out' in text


def test_malformed_keypoints_are_named(tmp_path):
    source = coco(tmp_path)
    source.write_text(source.read_text().replace('"area"', '"keypoints": [1], "area"'))
    with pytest.raises(AnnotationError, match='annotation 0: keypoints'):
        read_annotation(source)


@pytest.mark.parametrize(
    'place', ['data.yaml', '../data.yaml', 'classes.txt', 'labels/classes.txt']
)
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
    (tmp_path / 'labels/a/._two.txt').write_bytes(b'\xff')  # macOS's
    path = tmp_path / 'labels/a/two.txt'
    path.write_text('\ufeff' + path.read_text(), encoding='utf-8')
    assert sum(len(image.faces) for image in read_annotation(tmp_path)[1]) == 4
