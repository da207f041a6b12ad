import json
import re
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmdet_srn.datasets.checks import (
    BOXES,
    COUNTS,
    IMAGES,
    LAYOUT,
    OFFICIAL,
    Split,
    SplitReport,
    check_splits,
    find_splits,
    read_split,
)
from mmdet_srn.datasets.image_scan import ImageFacts, check_image, scan_images
from mmdet_srn.datasets.wider_face_txt_reader import parse_wider_face_txt
from tests.test_datasets.test_formats import exports

REST = '0 0 0 0 0 0'
ANNOTATION = f"""0--A/a.jpg
3
0 0 64 48 {REST}
10 5 20 25 {REST}
1 1 10 12 0 0 0 1 0 0
0--A/empty.jpg
0
0 0 0 0 {REST}
1--B/b.png
1
2 2 9 9 {REST}
"""
SIZES = {'0--A/a.jpg': (48, 64), '0--A/empty.jpg': (50, 40), '1--B/b.png': (20, 64)}


@pytest.fixture
def split(tmp_path):
    """A sound split of three images."""
    for value, (name, shape) in enumerate(SIZES.items()):
        file = tmp_path / 'images' / name
        file.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(file), np.full((*shape, 3), value, np.uint8))
    (tmp_path / 'gt.txt').write_text(ANNOTATION)
    return Split('train', tmp_path / 'gt.txt', tmp_path / 'images')


def _paths(report):
    return [report.image_path(record) for record in report.records]


def _check(split):
    report = read_split(split)
    check_splits([report], scan_images(_paths(report), 1))
    return report


def _found(report):
    return {name: lines for name, lines in report.findings.items() if lines}


def test_sound(split):
    report = _check(split)
    assert _found(report) == {
        'invalid': ['0--A/a.jpg: 1 1 10 12 (line 5)'],
        'faceless': ['0--A/empty.jpg'],
    }
    assert report.statuses() == {0}
    assert report.numbers == {
        'images listed': 3,
        'images decoded in full': 3,
        'boxes': 4,
        'most boxes in an image': 3,
    }
    assert report.ranges == {
        'image width': (40, 64, 64),
        'image height': (20, 48, 50),
        'box height': (9, 12, 48),
    }


def test_faulty_images(split):
    images = split.images
    (images / '0--A/a.jpg').unlink()
    (images / '0--A/a.png').write_bytes(b'')
    (images / '1--B/b.png').write_bytes((images / '1--B/b.png').read_bytes()[:40])
    report = _check(split)
    assert report.findings['missing'] == ['0--A/a.jpg']
    assert report.findings['unlisted'] == ['0--A/a.png']
    (line,) = report.findings['unreadable']
    assert line.startswith('1--B/b.png: ')
    assert report.statuses() == {0, IMAGES}
    assert report.numbers['images decoded in full'] == 1
    assert report.ranges['image width'] == (40, 40, 40)
    # Where no size is known no box is called outside.
    assert not report.findings['outside']


def test_unusual_images(split):
    images = split.images
    shutil.copy(images / '0--A/a.jpg', images / '0--A/empty.jpg')
    cv2.imwrite(str(images / '1--B/b.png'), np.zeros((20, 64), np.uint8))
    found = _found(_check(split))
    assert found['same_file'] == ['0--A/empty.jpg is train: 0--A/a.jpg']
    assert found['not_rgb'] == ['1--B/b.png: PNG L']
    report = read_split(split)
    first, *others = _paths(report)
    facts = {path: check_image(path) for path in others}
    facts[first] = ImageFacts('', 48, 64, 'JPEG', 'RGB', 6, 'Corrupt JPEG data')
    check_splits([report], facts)
    assert report.findings['rotated'] == ['0--A/a.jpg: orientation 6, decoded as 48x64']
    assert report.findings['damaged'] == ['0--A/a.jpg: Corrupt JPEG data']
    # The box of the whole image, once rotated, sticks out.
    assert report.findings['partly_outside'] == [
        '0--A/a.jpg: 0 0 64 48 (line 3, image 48x64)'
    ]


def test_the_same_file_in_two_splits(split):
    reports = [read_split(split), read_split(split._replace(name='val'))]
    check_splits(reports, {path: check_image(path) for path in _paths(reports[0])})
    assert reports[0].findings['same_file'] == []
    assert reports[1].findings['same_file'] == [
        f'{name} is train: {name}' for name in SIZES
    ]


BOX = st.one_of(
    st.tuples(*[st.integers(-40, 80)] * 4),
    st.sampled_from([(0, 0, 64, 48), (63, 47, 1, 1), (64, 0, 5, 5), (-5, 0, 5, 5)]),
)


@given(st.lists(st.lists(BOX, max_size=5), min_size=1, max_size=4))
def test_boxes_one_by_one(images):
    """The findings on boxes are those of a plain loop."""
    lines, expected = [], {}
    line = 0
    for index, boxes in enumerate(images):
        lines += [f'{index}.jpg', str(len(boxes))]
        lines += [f'{x} {y} {w} {h} {REST}' for x, y, w, h in boxes]
        seen = set()
        for offset, (x, y, w, h) in enumerate(boxes):
            kind = None
            if w <= 0 or h <= 0:
                kind = 'degenerate'
            elif not set(range(x, x + w)) & set(range(64)):
                kind = 'outside'
            elif not set(range(y, y + h)) & set(range(48)):
                kind = 'outside'
            elif x < 0 or y < 0 or x + w > 64 or y + h > 48:
                kind = 'partly_outside'
            where = f'{index}.jpg: {x} {y} {w} {h} (line {line + 3 + offset}'
            size = ', image 64x48' if kind in ('outside', 'partly_outside') else ''
            if kind:
                expected.setdefault(kind, []).append(f'{where}{size})')
            if w > 0 and h > 0:
                if max(w, h) < 8:
                    expected.setdefault('tiny', []).append(f'{where})')
                if (x, y, w, h) in seen:
                    expected.setdefault('repeated', []).append(f'{where})')
                seen.add((x, y, w, h))
        line += 2 + len(boxes)
    if any(w > 0 and h > 0 for boxes in images for _, _, w, h in boxes):
        faceless = [
            f'{index}.jpg'
            for index, boxes in enumerate(images)
            if not any(w > 0 and h > 0 for _, _, w, h in boxes)
        ]
        expected.update(faceless=faceless)
    else:
        number = sum(map(len, images))
        expected['no_faces'] = [f'gt.txt: none of {number} boxes is a face to find']
    records = parse_wider_face_txt('\n'.join(lines))
    report = SplitReport(Split('train', Path('gt.txt'), Path()), records)
    facts = {
        report.image_path(r): ImageFacts('', 64, 48, 'JPEG', 'RGB', digest=r.path)
        for r in records
    }
    check_splits([report], facts)
    report.findings['corners'].clear()  # they may well look so
    assert _found(report) == {name: found for name, found in expected.items() if found}
    faults = {'outside', 'no_faces'}.intersection(expected)
    assert (BOXES in report.statuses()) == bool(faults)


def _write_json(split, change=lambda content: None):
    """The sound split in COCO's JSON, with a change."""
    content = dict(
        images=[
            dict(id=i, file_name=name, height=shape[0], width=shape[1])
            for i, (name, shape) in enumerate(SIZES.items())
        ],
        annotations=[
            dict(id=7 + i, image_id=image, category_id=1, bbox=box, area=9, iscrowd=0)
            for i, (image, box) in enumerate(
                [(0, [0, 0, 64, 48]), (0, [10.5, 5, 20, 25]), (2, [2, 2, 9, 9])]
            )
        ],
        categories=[dict(id=1, name='face'), dict(id=2, name='head')],
    )
    change(content)
    path = split.annotation.with_suffix('.json')
    path.write_text(json.dumps(content))
    return split._replace(annotation=path)


def test_coco_json(split):
    report = _check(_write_json(split))
    assert _found(report) == {'faceless': ['0--A/empty.jpg']}
    assert report.numbers['boxes'] == report.numbers['boxes in the annotation'] == 3
    assert report.ranges['box height'] == (9, 25, 48)


def test_coco_json_with_faults(split):
    def change(content):
        content['images'][0].update(width=48, height=64)
        content['annotations'][1]['area'] = 0
        content['annotations'][2]['bbox'] = [60.5, 2, 9, float('nan')]
        more = dict(content['annotations'][0], bbox=[64, 0, 9, 9.5], id='x', image_id=2)
        content['annotations'].append(more)
        content['annotations'].append(dict(more, id='y', image_id=99))
        content['annotations'].append(dict(more, id='z', category_id=2))

    report = _check(_write_json(split, change))
    found = _found(report)
    assert found['sizes'] == [
        '0--A/a.jpg: decoded as 64x48, not 48x64 (as before an EXIF rotation)'
    ]
    words = (
        'area',
        'NaN',
        'outside',
        'not listed',
        "category (there are 'face', 'head'",
    )
    for line, word in zip(found['unused'], words, strict=True):
        assert word in line
    assert found['unused'][2].startswith('1--B/b.png: annotation x: ')
    assert report.statuses() == {0, BOXES}
    assert report.numbers['boxes in the annotation'] == 6
    assert report.numbers['boxes'] == 1


def test_coco_json_with_a_number_beyond_any_float(split):
    def change(content):
        content['annotations'][0]['bbox'][0] = 10**400

    (line,) = _found(_check(_write_json(split, change)))['unused']
    assert line.startswith('0--A/a.jpg: annotation 7: with NaN, infinite or absurd')


def test_coco_json_boxes_outside_the_decoded_image(split):
    def change(content):
        content['images'][2].update(width=999)
        content['annotations'][2]['bbox'] = [70.5, 2, 9, 9]

    (line,) = _found(_check(_write_json(split, change)))['outside']
    assert line == '1--B/b.png: 70.5 2.0 9.0 9.0 (annotation 9, image 64x20)'


def test_no_face_to_find(split):
    report = _check(
        _write_json(split, lambda c: c['categories'][0].update(name='Face'))
    )
    assert len(report.findings['unused']) == 3
    assert 'none of 0 boxes' in report.findings['no_faces'][0]
    assert BOXES in report.statuses()
    text = re.sub(f'([1-9]) {REST}', r'\1 0 0 0 1 0 0', ANNOTATION)
    split.annotation.write_text(text)
    report = _check(split)
    assert 'none of 4 boxes' in report.findings['no_faces'][0]
    assert BOXES in report.statuses()


@pytest.mark.parametrize(
    ('num_images', 'num_boxes', 'lines'),
    [
        (3, 4, []),  # as the annotation's rows are
        (3, 5, []),  # with one for the image without faces
        (3, None, []),
        (4, 4, ['3 images listed for train, official are 4']),
        (3, 3, ['4 boxes listed for train, official are 3, with one for']),
        (2, 6, ['3 images listed', '4 boxes listed']),
    ],
)
def test_official_counts(split, num_images, num_boxes, lines):
    report = _check(split._replace(num_images=num_images, num_boxes=num_boxes))
    found = report.findings['counts']
    assert len(found) == len(lines)
    for line, expected in zip(found, lines, strict=True):
        assert line.startswith(expected)
    assert (COUNTS in report.statuses()) == bool(lines)


@pytest.mark.parametrize(
    ('content', 'message'),
    [
        (None, 'No such file'),
        (b'0--A/a.jpg\n1\n1 2 3\n', r'gt\.txt:3: expected a face'),
        (b'\xff', r'gt\.txt:1: not UTF-8'),
        (b'\n', 'lists no images'),
        (b'0--A/a.jpg\r1\r1 2 3\r', r'gt\.txt:3: expected a face'),
    ],
)
def test_faulty_annotation(split, content, message):
    split.annotation.unlink()
    if content is not None:
        split.annotation.write_bytes(content)
    report = _check(split)
    (line,) = report.findings['layout']
    assert re.search(message, line)
    assert report.statuses() == {LAYOUT}


def test_no_images_folder(split):
    report = _check(split._replace(images=split.images / 'nowhere'))
    assert report.findings['layout'] == [f'{split.images / "nowhere"}: no such folder']
    assert not report.findings['missing']  # once is enough
    assert report.numbers['boxes'] == 4
    assert LAYOUT in report.statuses()


def test_file_list(split):
    split.annotation.write_text('\n'.join(SIZES))
    report = _check(split)
    assert _found(report) == {}
    assert report.numbers['boxes'] == 0


def _names(*args):
    return [split.name for split in find_splits(*args)]


def test_which_splits(tmp_path):
    assert _names(tmp_path, False) == ['train', 'val']
    assert _names(tmp_path, False, ['val']) == ['val']
    assert _names(tmp_path, True) == []
    (tmp_path / 'WIDER_val/images').mkdir(parents=True)
    assert _names(tmp_path, True) == ['val']
    (tmp_path / 'wider_face_split').mkdir()
    (tmp_path / OFFICIAL['test'].annotation).touch()  # comes with the others
    assert _names(tmp_path, False) == ['train', 'val']
    (tmp_path / 'WIDER_test/images').mkdir(parents=True)
    assert _names(tmp_path, False) == ['train', 'val', 'test']
    assert all(split.num_images for split in find_splits(tmp_path, False))
    assert not any(split.num_images for split in find_splits(tmp_path, True))


@pytest.mark.parametrize('export', [exports.yolo, exports.voc, exports.datumaro])
def test_formats_to_convert_are_checked_as_well(export, tmp_path):
    report = _check(Split('custom', export(tmp_path), tmp_path))
    assert report.numbers['boxes'] == 4
    assert 'convert_annotations' in report.findings['convert'][0]
    assert report.statuses() == {0}


def test_what_a_conversion_leaves_out_is_found(tmp_path):
    source = exports.csv(tmp_path)
    text = source.read_text().replace('100,50,180,150', '100,50,100,150')
    source.write_text(
        text.replace('one.jpg,320,200,face,200', 'one.jpg,320,200,hat,200')
    )
    (tmp_path / 'a/two.jpg').unlink()
    findings = read_split(Split('custom', source, tmp_path)).findings
    assert findings['missing'] == ['a/two.jpg']
    assert 'faces.csv:3' in findings['degenerate'][0]
    assert 'hat' in findings['unused'][0]


def test_corners_are_noticed(tmp_path):
    exports.write_images(tmp_path)
    rows = '\n'.join(
        f'{a} {b} {c} {d} {REST}' for a, b, c, d in exports.FACES['a/one.jpg']
    )
    source = tmp_path / 'gt.txt'
    source.write_text(f'a/one.jpg\n3\n{rows}\n')
    report = _check(Split('custom', source, tmp_path))
    assert '--corners' in report.findings['corners'][0]


def test_normalised_boxes_of_coco_are_noticed(tmp_path):
    source = exports.coco(tmp_path)
    content = json.loads(source.read_text())
    for face in content['annotations']:
        face['bbox'] = [0.1, 0.2, 0.3, 0.4]
    source.write_text(json.dumps(content))
    report = read_split(Split('custom', source, tmp_path))
    assert 'pixels' in report.findings['normalised'][0]
