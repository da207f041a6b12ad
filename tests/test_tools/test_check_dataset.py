import json
import os
import signal
import subprocess
import sys
import time

import cv2
import numpy as np
import pytest
from PIL import ExifTags, Image

from mmdet_srn.datasets.wider_face_txt_reader import (
    AnnotationError,
    read_wider_face_txt,
)
from tests.test_datasets.test_formats import exports
from tests.tool_loader import load_tool, run_without_stack

REST = '0 0 0 0 0 0'
SPLITS = {
    'train': f'0--A/a.jpg\n2\n10 5 20 25 {REST}\n1 1 0 9 {REST}\n'
    f'0--A/empty.jpg\n0\n0 0 0 0 {REST}\n',
    'val': f'1--B/b.jpg\n1\n2 2 9 9 {REST}\n',
}


@pytest.fixture
def tool(monkeypatch):
    monkeypatch.setattr(sys, 'path', [*sys.path])  # the tool adds to it
    monkeypatch.setenv('MMDET_SRN_LIGHT', '1')
    return load_tool('check_dataset')


@pytest.fixture
def root(tmp_path):
    """A sound data set of three images."""
    root = tmp_path / 'data'
    value = 0
    for split, text in SPLITS.items():
        annotation = _annotation(root, split)
        annotation.parent.mkdir(parents=True, exist_ok=True)
        annotation.write_text(text)
        for line in text.split('\n'):
            if line.endswith('.jpg'):
                value += 20
                file = root / f'WIDER_{split}/images' / line
                file.parent.mkdir(parents=True, exist_ok=True)
                cv2.imwrite(str(file), np.full((48, 64, 3), value, np.uint8))
    return root


@pytest.fixture
def official(tool, monkeypatch):
    """What the small data set holds is made the official numbers."""
    check = tool.checks
    numbers = dict(train=(2, 3), val=(1, 1), test=(5, None))
    for name, (images, boxes) in numbers.items():
        entry = check.OFFICIAL[name]._replace(num_images=images, num_boxes=boxes)
        monkeypatch.setitem(check.OFFICIAL, name, entry)


def _annotation(root, split='train'):
    return root / f'wider_face_split/wider_face_{split}_bbx_gt.txt'


def _run(tool, root, *args):
    return tool.main([str(root), '--workers', '2', *map(str, args)])


def _rows(text):
    """Title -> cells of the printed table."""
    rows = [line.strip('|').split('|') for line in text.splitlines() if '|' in line]
    return {title.strip(): [cell.strip() for cell in cells] for title, *cells in rows}


def test_sound(tool, root, tmp_path, capsys):
    out = tmp_path / 'out/here.json'
    assert _run(tool, root, '--custom', '--json', out) == 0
    printed = capsys.readouterr().out
    rows = _rows(printed)
    assert rows[''] == ['train', 'val']
    assert rows['images listed'] == ['2', '1']
    assert rows['images decoded in full'] == ['2', '1']
    assert rows['boxes'] == ['2', '1']
    assert rows['image width: min, median, max'] == ['64 64 64'] * 2
    assert rows['images listed but missing'] == ['0', '0']
    assert rows['images without a face'] == ['1', '0']
    assert 'boxes listed more than once for their image' not in rows
    assert '  0--A/a.jpg: 1 1 0 9 (line 4)' in printed
    assert f'wrote {out}' in printed and '\nsound\n' in printed
    stored = json.loads(out.read_text())
    assert stored['status'] == 0
    train = stored['splits']['train']
    assert train['numbers']['boxes'] == 2
    assert train['ranges']['box height'] == [25, 25, 25]
    assert train['findings']['faceless'] == ['0--A/empty.jpg']
    assert train['findings']['unreadable'] == []
    assert not train['compared_with_official']


def test_official(tool, root, official, capsys):
    assert _run(tool, root) == 0
    assert 'whole, and as official' in capsys.readouterr().out


def test_not_official(tool, root, capsys):
    assert _run(tool, root) == 5
    printed = capsys.readouterr().out
    assert '2 images listed for train, official are 12880' in printed
    assert '1 boxes listed for val, official are 39708' in printed
    assert 'NOT as it should be (exit status 5)' in printed


def _truncate(root):
    file = root / 'WIDER_val/images/1--B/b.jpg'
    file.write_bytes(file.read_bytes()[:-30])


def _remove(root):
    (root / 'WIDER_train/images/0--A/a.jpg').unlink()


def _spoil(root):
    _annotation(root).write_text('0--A/a.jpg\n1\n1 2 3\n')


def _move_box(root):
    text = SPLITS['val'].replace('2 2 9 9', '64 2 9 9')
    _annotation(root, 'val').write_text(text)


@pytest.mark.parametrize(
    ('faults', 'status', 'message'),
    [
        ([_spoil], 3, 'wider_face_train_bbx_gt.txt:3: expected a face of 0--A/a.jpg'),
        ([_truncate], 4, '1--B/b.jpg: OSError: image file is truncated'),
        ([_remove], 4, '0--A/a.jpg'),
        ([_move_box], 6, '1--B/b.jpg: 64 2 9 9 (line 3, image 64x48)'),
        ([_move_box, _remove], 4, '1--B/b.jpg: 64 2 9 9 (line 3, image 64x48)'),
        ([_truncate, _spoil], 3, '1--B/b.jpg: OSError: image file is truncated'),
    ],
)
def test_exit_status(tool, root, official, faults, status, message, capsys):
    for fault in faults:
        fault(root)
    if faults != [_spoil]:  # whose boxes cannot be counted
        assert _run(tool, root) == status
    assert _run(tool, root, '--custom') == status
    printed = capsys.readouterr().out
    assert message in printed
    assert f'NOT as it should be (exit status {status})' in printed


def test_nothing_there(tool, tmp_path, capsys):
    assert _run(tool, tmp_path / 'nowhere') == 3
    assert 'nowhere/WIDER_train/images: no such folder' in capsys.readouterr().out
    assert _run(tool, tmp_path / 'nowhere', '--custom') == 3
    assert 'nothing of the official layout' in capsys.readouterr().out


def test_other_names(tool, root, capsys):
    (root / 'mine.txt').write_text(SPLITS['train'])
    args = ('--ann-file', 'mine.txt', '--images', 'WIDER_train/images')
    assert _run(tool, root, *args) == 0
    assert _rows(capsys.readouterr().out)['images decoded in full'] == ['2']
    assert _run(tool, root, *args[:3], root / 'WIDER_val/images') == 4


def test_same_image_in_train_and_val(tool, root, capsys):
    """Annotations of one folder; what the other one lists is listed."""
    images = root / 'WIDER_train/images/0--A'
    (images / 'copy.jpg').write_bytes((images / 'a.jpg').read_bytes())
    (images / 'none.jpg').write_bytes(b'')
    (root / 'train.txt').write_text(SPLITS['train'])
    (root / 'val.txt').write_text(f'0--A\\copy.jpg\n1\n1 2 9 9 {REST}\n')
    args = ('--ann-file', 'train.txt', 'val.txt', '--images', 'WIDER_train/images')
    out = root / 'out.json'
    assert _run(tool, root, *args, '--json', out) == 0
    assert '0--A/copy.jpg is train.txt: 0--A/a.jpg' in capsys.readouterr().out
    found = json.loads(out.read_text())['splits']
    assert list(found) == ['train.txt', 'val.txt']
    for split in found.values():
        assert split['findings']['unlisted'] == ['0--A/none.jpg']


def test_rows_of_yolo_in_one_text(tool, root, capsys):
    (root / 'all.txt').write_text('0 .5 .5 .1 .2\n0 .3 .5 .1 .2\n')
    args = ('--ann-file', 'all.txt', '--images', 'WIDER_train/images')
    assert _run(tool, root, *args) == 3
    assert 'one text for each image' in capsys.readouterr().out


def test_coco_json(tool, root, capsys):
    image = dict(id=1, file_name='0--A/a.jpg', width=64, height=48)
    face = dict(id=1, image_id=1, category_id=1, bbox=[1, 2, 30.5, 40], area=1220)
    names = [dict(id=1, name='Face')]
    content = dict(images=[image], annotations=[face], categories=names)
    (root / 'mine.json').write_text(json.dumps(content))
    args = ('--ann-file', 'mine.json', '--images', 'WIDER_train/images')
    assert _run(tool, root, *args) == 6
    printed = capsys.readouterr().out
    assert "of another category (there are 'Face')" in printed
    assert "with --classes: 'Face'" in printed
    assert _run(tool, root, *args, '--classes', 'Face') == 0
    assert _rows(capsys.readouterr().out)['boxes'] == ['1']
    del image['width']
    (root / 'mine.json').write_text(json.dumps(content))
    assert _run(tool, root, *args) == 3
    assert 'mine.json: 0--A/a.jpg has no width' in capsys.readouterr().out


def test_without_linux(tool, root, monkeypatch):
    """macOS does not tell a process's cores."""
    monkeypatch.delattr(os, 'sched_getaffinity')
    assert tool.main([str(root), '--custom']) == 0


def test_list(tool, root, capsys):
    boxes = ''.join(f'{x} 9 0 9 {REST}\n' for x in range(9))
    _annotation(root, 'val').write_text(f'1--B/b.jpg\n10\n{boxes}1 1 9 8 {REST}\n')
    for count in (0, 2, 9):
        assert _run(tool, root, '--custom', '--splits', 'val', '--list', count) == 0
        printed = capsys.readouterr().out
        assert printed.count('9 0 9 (line') == count
        assert ('and 7 more' in printed) == (count == 2)


@pytest.mark.parametrize(
    'args',
    [
        ['--workers', '0'],
        ['--ann-file', 'x'],
        ['--ann-file', 'x', 'y', '--images', 'z', '--fix', 'f.txt'],
        ['--splits', 'all'],
        [],
    ],
)
def test_wrong_usage(tool, root, args):
    with pytest.raises(SystemExit) as caught:
        tool.main([str(root), *args] if args else [])
    assert caught.value.code == 2


def test_help_tells_the_exit_statuses(tool, capsys):
    with pytest.raises(SystemExit):
        tool.main(['-h'])
    printed = capsys.readouterr().out
    check = tool.checks
    for status in (check.LAYOUT, check.IMAGES, check.COUNTS, check.BOXES, 130):
        assert f'\n  {status}  ' in printed


def test_json_that_cannot_be_written(tool, root, tmp_path, capsys):
    assert _run(tool, root, '--custom', '--json', tmp_path) == 1
    assert 'check_dataset: ' in capsys.readouterr().err


@pytest.fixture
def slow(root):
    """Many images that take long to decode."""
    folder = root / 'WIDER_train/images'
    noise = np.random.default_rng(0).integers(0, 255, (700, 700, 3), np.uint8)
    cv2.imwrite(str(folder / 'big.jpg'), noise)
    names = [f'{index}.jpg' for index in range(160)]
    for name in names:
        (folder / name).hardlink_to(folder / 'big.jpg')
    (root / 'list.txt').write_text('\n'.join(names))
    return root


@pytest.mark.parametrize('sent', [signal.SIGINT, signal.SIGKILL])
def test_interruption(repo_root, slow, sent):
    command = [sys.executable, repo_root / 'tools/misc/check_dataset.py', slow]
    command += ['--ann-file', 'list.txt', '--images', 'WIDER_train/images']
    process = subprocess.Popen(
        [*command, '--workers', '2'],
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        # a shell's background jobs, as CI may be, hand down an ignored SIGINT
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    _wait(lambda: len(_children(process.pid)) == 2)
    children = _children(process.pid)
    time.sleep(0.2)
    process.send_signal(sent)
    _, errors = process.communicate(timeout=60)
    if sent == signal.SIGINT:
        assert process.returncode == 130
        assert 'interrupted' in errors
        assert 'Traceback' not in errors
    _wait(lambda: not any(map(_alive, children)))


def _wait(condition, seconds=60):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


def _children(pid):
    tasks = f'/proc/{pid}/task/{pid}/children'
    with open(tasks) as file:
        return [int(child) for child in file.read().split()]


def _alive(pid):
    try:
        with open(f'/proc/{pid}/stat') as file:
            return file.read().rpartition(')')[2].split()[0] != 'Z'
    except FileNotFoundError:
        return False


def test_runs_without_the_stack(root):
    done = run_without_stack('check_dataset', root, '--custom')
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith('sound\n')


def test_widerface_mini(tool, shared_data, capsys):
    mini = shared_data / 'widerface_mini'
    assert _run(tool, mini, '--custom') == 0
    rows = _rows(capsys.readouterr().out)
    assert rows['images decoded in full'] == ['204', '7']
    assert rows['boxes'] == ['4,565', '478']


def test_sheet_and_fixed_annotation(tool, tmp_path, capsys):
    source = exports.csv(tmp_path)
    source.write_text(source.read_text().replace('10,20,40,60', '300,150,340,190'))
    (tmp_path / 'a/two.jpg').write_bytes((tmp_path / 'a/two.jpg').read_bytes()[:700])
    sheet, fixed = tmp_path / 'sheet.png', tmp_path / 'fixed.txt'
    options = ('--ann-file', 'faces.csv', '--images', '.')
    assert _run(tool, tmp_path, *options, '--sheet', sheet, '--fix', fixed) == 4
    image = cv2.imread(str(sheet))
    assert (image[..., 2].astype(int) - image[..., 1] > 100).any()  # a red box
    assert 'partly outside' in capsys.readouterr().out
    assert {r.path: len(r.faces) for r in read_wider_face_txt(fixed)} == {
        'a/one.jpg': 3,
        'b/none.jpg': 0,
    }


def test_how_a_list_is_read_may_be_said(tool, tmp_path, capsys):
    exports.write_images(tmp_path)
    rows = '\n'.join(
        f'{" ".join(map(str, box))} {REST}' for box in exports.FACES['a/one.jpg']
    )
    (tmp_path / 'gt.txt').write_text(f'a/one.jpg\n3\n{rows}\n')
    options = ('--ann-file', 'gt.txt', '--images', '.')
    fixed = tmp_path / 'fixed.txt'
    assert _run(tool, tmp_path, *options) == 6
    assert '--corners' in capsys.readouterr().out
    assert _run(tool, tmp_path, *options, '--corners', '--fix', fixed) == 0
    assert 'convert_annotations' in capsys.readouterr().out
    assert read_wider_face_txt(fixed)[0].faces[0, :4].tolist() == [10, 20, 30, 40]


def test_boxes_of_turned_images_may_be_said(tool, tmp_path, capsys):
    exports.retinaface(tmp_path)
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 3
    Image.new('RGB', (320, 200)).save(tmp_path / 'a/two.jpg', exif=exif)
    options = ('--ann-file', 'faces.txt', '--images', '.')
    assert _run(tool, tmp_path, *options) == 3
    assert '--boxes-are' in capsys.readouterr().out
    assert _run(tool, tmp_path, *options, '--boxes-are', 'unturned') == 0


def test_an_annotation_is_read_once(tool, tmp_path, monkeypatch, capsys):
    exports.csv(tmp_path)
    reads = []
    form = tool.formats.FORMATS['csv']
    counted = form._replace(read=lambda path: reads.append(path) or form.read(path))
    monkeypatch.setitem(tool.formats.FORMATS, 'csv', counted)
    options = ('--ann-file', 'faces.csv', '--images', '.')
    assert _run(tool, tmp_path, *options, '--fix', tmp_path / 'fixed.json') == 0
    assert len(reads) == 1
    assert 'fixed.json: 3 images, 4 faces' in capsys.readouterr().out


def test_what_cannot_be_read_is_left_out_of_the_fixed(tool, tmp_path, capsys):
    source = exports.coco(tmp_path)
    content = json.loads(source.read_text())
    faces = content['annotations']
    faces[0]['area'] = float('nan')  # no conversion needs it
    faces[1]['bbox'][2] = float('nan')
    faces += [
        dict(faces[3], id=7, image_id=9),
        dict(faces[3], id=8, bbox=[10**400] * 4),
    ]
    source.write_text(json.dumps(content))
    options = ('--ann-file', 'faces.json', '--images', '.')
    assert _run(tool, tmp_path, *options, '--fix', tmp_path / 'fixed.json') == 0
    printed = capsys.readouterr().out
    assert _rows(printed)['faces that training leaves out'] == ['4']
    assert 'fixed.json: 3 images, 3 faces' in printed
    with pytest.raises(AnnotationError, match='annotation 1: .* finite'):
        tool.formats.read_annotation(source)  # a conversion stays strict


def test_labels_are_counted(tool, tmp_path, capsys):
    source = exports.coco(tmp_path)
    content = json.loads(source.read_text())
    content['categories'].append(dict(id=8, name='mask'))
    content['annotations'][0]['category_id'] = 8
    source.write_text(json.dumps(content))
    options = ('--ann-file', 'faces.json', '--images', '.')
    out = tmp_path / 'found.json'
    assert _run(tool, tmp_path, *options, '--json', out) == 0
    printed = capsys.readouterr().out
    assert "'mask' 1" in printed
    assert "classes = ('face', 'mask')" in printed  # the categories' order
    labels = json.loads(out.read_text())['splits']['custom']['labels']
    assert labels == dict(mask=1, face=3)
