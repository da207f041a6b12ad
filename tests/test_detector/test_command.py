"""``python -m mmdet_srn`` on real files, with a tiny detector."""

import csv
import fcntl
import gc
import hashlib
import io
import json
import os
import shutil
import signal
import sys
import weakref
from pathlib import Path
from unittest import mock

import cv2
import numpy as np
import pytest
import torch
from PIL import Image
from pycocotools.coco import COCO

from mmdet_srn.detector import command
from mmdet_srn.detector.frames import Frame
from mmdet_srn.evaluation import read_results
from mmdet_srn.evaluation.parity import compare_detections
from tests.test_detector.shown import files
from tests.test_detector.tiny_model import load
from tests.test_detector.videos import (
    read_sound,
    read_times,
    read_video,
    write_timed_video,
    write_video,
)


@pytest.fixture
def folder(tmp_path, monkeypatch, make_image) -> Path:
    """A working folder with a folder of pictures of two sizes, and a video."""
    monkeypatch.chdir(tmp_path)
    for i, name in enumerate(['a', 'b', 'deep/c', 'd']):
        path = tmp_path / 'photos' / f'{name}.png'
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), make_image(i, *((64, 96) if i % 2 else (50, 40))))
    write_video(tmp_path / 'clip.avi', 5)
    return tmp_path


@pytest.fixture
def run(tiny, monkeypatch):
    """Runs the command on the CPU, loading a model once for all tests.

    The config lies beside the checkpoint.
    """
    monkeypatch.setattr(command, 'FaceDetector', load)

    def run(*arguments: str) -> int:
        model = () if '--checkpoint' in arguments else ('--checkpoint', str(tiny[1]))
        return command.main([*arguments, *model, '--device', 'cpu'])

    return run


def records(out: str | Path = 'detections') -> list[dict]:
    lines = Path(out, 'faces.jsonl').read_text().splitlines()
    return [json.loads(line) for line in lines]


# ------------------------------------------------------------------------ what it does


@pytest.mark.parametrize('batch_size', ['1', '3'])
def test_folder_and_video(run, folder, detector, capsys, batch_size):
    arguments = ['photos', 'clip.avi', '--format', 'json,csv,wider']
    assert run(*arguments, '--batch-size', batch_size) == 0
    assert files('detections') == [
        '.finished.jsonl',
        'a_faces.jpg',
        'b_faces.jpg',
        'clip_faces.mkv',
        'd_faces.jpg',
        'deep/c_faces.jpg',
        'faces.csv',
        'faces.jsonl',
        *(f'wider/clip.frames/{i:06}.txt' for i in range(5)),
        'wider/deep/c.txt',
        *(f'wider/photos/{name}.txt' for name in 'abd'),
    ]
    names = [f'photos/{name}.png' for name in ('a', 'b', 'd', 'deep/c')]
    found = records()
    assert [(r['image'], r.get('frame')) for r in found] == [
        *((name, None) for name in names),
        *(('clip.avi', i) for i in range(5)),
    ]
    images = [cv2.imread(name) for name in names] + read_video(Path('clip.avi'))
    for record, image in zip(found, images, strict=True):
        wanted = detector.detect(image)
        assert (record['width'], record['height']) == image.shape[1::-1]
        assert len(record['scores']) == len(wanted)
        np.testing.assert_allclose(record['scores'], wanted.scores, atol=1e-4)
        bboxes = np.reshape(record['bboxes'], (-1, 4))
        np.testing.assert_allclose(bboxes, wanted.bboxes, atol=0.05)
    number = sum(len(record['scores']) for record in found)
    assert number > 20

    with open('detections/faces.csv', newline='') as file:
        rows = list(csv.DictReader(file))
    assert [float(row['score']) for row in rows] == [
        score for record in found for score in record['scores']
    ]
    read, report = read_results('detections/wider', ['photos/a', 'deep/c', 'photos/d'])
    assert not any(report.odd.values())
    assert len(read.rows) == sum(len(found[i]['scores']) for i in (0, 3, 2))

    assert len(read_video(Path('detections/clip_faces.mkv'))) == 5
    drawn, plain = cv2.imread('detections/b_faces.jpg'), images[1]
    assert drawn.shape == plain.shape and np.abs(drawn.astype(int) - plain).max() > 50
    captured = capsys.readouterr()
    assert captured.out == f'9 images, {number} faces; written to detections\n'
    assert captured.err == ''


def test_hidden_and_cut_out(run, folder):
    options = ('--hide', 'box', '--hide-ellipse', '--save-crops', 'crops')
    assert run('photos', 'clip.avi', *options, '--crop-min-size', '12') == 0
    names = [f'{name}_hidden.jpg' for name in ('a', 'b', 'd', 'deep/c')]
    written = files('detections')
    assert {*names, 'clip_hidden.mkv', 'faces.jsonl'} <= set(written)
    assert not any('_faces' in name for name in written)
    assert len(read_video(Path('detections/clip_hidden.mkv'))) == 5
    boxes = np.reshape(records()[1]['bboxes'], (-1, 4))
    hidden = cv2.imread('detections/b_hidden.jpg')
    for x, y in boxes.reshape(-1, 2, 2).mean(axis=1).astype(int):
        assert hidden[y, x].max() < 60
    large = ((boxes[:, 2:] - boxes[:, :2]).min(axis=1) >= 12).sum()
    crops = files('detections/crops')
    assert sum(name.startswith('b_') for name in crops) == large > 0
    # What was written is no input of the next run.
    assert run('.', '--overwrite') == 0 and len(records()) == 9


def test_a_hidden_video_keeps_times_and_sound(run, folder):
    pytest.importorskip('av')
    path = write_timed_video(folder / 'x.mp4', [0, 0.04, 0.5, 0.54])
    assert run('x.mp4', '--hide', 'mosaic', '--every', '2') == 0
    assert [record['time'] for record in records()] == read_times(path)
    hidden = Path('detections/x_hidden.mkv')
    assert read_times(hidden) == read_times(path)
    kept = [content for _, content in read_sound(hidden)]
    assert kept and kept == [content for _, content in read_sound(path)][-len(kept) :]


def test_one_in_n_frames(run, folder, shapes, detector):
    """The others get boxes between those of the same face."""
    write_video(Path('clip.avi'), 8)
    arguments = ('clip.avi', 'photos/a.png', '--every', '3', '--batch-size', '2')
    assert run(*arguments, '--hide', 'blur') == 0
    assert len(shapes) == 3 + 1
    found = records()
    assert [record.get('frame') for record in found] == [*range(8), None]
    assert [record.get('time') for record in found[:8]] == pytest.approx(
        np.arange(8) / 10
    )
    video = read_video(Path('clip.avi'))
    ends = [detector.detect(video[i]) for i in (0, 3, 6)]
    for record, wanted in zip(found[:8:3], ends, strict=True):
        np.testing.assert_allclose(record['scores'], wanted.scores, atol=1e-4)
    assert len(found[1]['scores']) == len(found[2]['scores']) > 0
    assert len(found[1]['scores']) <= min(len(ends[0]), len(ends[1]))
    assert found[7]['scores'] == []  # no detection comes after it
    assert len(read_video(Path('detections/clip_hidden.mkv'))) == 8


def test_tracks(run, folder):
    pytest.importorskip('trackers')
    formats = ('--format', 'json,csv,coco')
    assert run('clip.avi', 'photos/a.png', '--track', *formats) == 0
    found = records()
    assert 'ids' not in found[5] and all('ids' in record for record in found[:5])
    assert set(found[0]['ids']) == {None}
    ids = [set(record['ids']) - {None} for record in found[1:5]]
    assert ids[0] and ids[0] & ids[1] & ids[2]
    with open('detections/faces.csv', newline='') as file:
        rows = list(csv.DictReader(file))
    assert {row['id'] for row in rows if row['frame'] == '1'} - {''} == set(
        map(str, ids[0])
    )
    annotations = json.loads(Path('detections/faces_coco.json').read_text())
    assert [face.get('track_id') for face in annotations['annotations']] == [
        number for record in found for number in record.get('ids', [None] * 40)
    ][: len(rows)]


def test_grey_rgba_16_bits_and_tiny_images(run, folder, detector, make_image):
    grey = make_image(6)[..., 0]
    cv2.imwrite('grey.png', grey)
    cv2.imwrite('deep.png', grey.astype(np.uint16) * 257)
    cv2.imwrite('rgba.png', np.dstack([grey, grey, grey, 255 - grey]))
    cv2.imwrite('tiny.png', grey[:1, :1])
    cv2.imwrite('strip.png', grey[:, :1])
    names = ['grey.png', 'deep.png', 'rgba.png', 'tiny.png', 'strip.png']
    assert run(*names, '--batch-size', '5') == 0
    found = records()
    assert [record['image'] for record in found] == names
    wanted = detector.detect(np.dstack([grey] * 3))
    for record in found[:3]:
        np.testing.assert_allclose(record['scores'], wanted.scores, atol=1e-4)
    assert (found[3]['width'], found[3]['height']) == (1, 1)
    assert cv2.imread('detections/strip_faces.jpg').shape == (64, 1, 3)


@pytest.mark.parametrize(
    ('more', 'seen'),
    [
        ((), (13, 2048)),
        (('--max-size', '1000'), (6, 1000)),
        (('--max-size', '0'), (20, 3100)),
    ],
)
def test_huge_images(run, folder, make_image, shapes, more, seen):
    """They are made smaller for the detector; the boxes are in their own pixels."""
    height, width = 20, 3100
    cv2.imwrite('huge.png', make_image(9, height, width))
    assert run('huge.png', '--no-draw', *more) == 0
    assert shapes == [seen]
    (record,) = records()
    assert (record['width'], record['height']) == (width, height)
    assert max(box[2] for box in record['bboxes']) > 2200


def test_multi_scale(run, folder, tiny_multi_scale):
    config, weights = map(str, tiny_multi_scale)
    model = ('--config', config, '--checkpoint', weights)
    assert run('photos/a.png', *model, '--multi-scale') == 0
    detector = load(config, weights, device='cpu')
    wanted = detector.detect('photos/a.png', multi_scale=True)
    np.testing.assert_array_equal(np.float32(records()[0]['scores']), wanted.scores)


def test_webcam(run, folder, make_image):
    """A stand-in for the camera, which gives three images and then none."""
    camera = mock.Mock()
    camera.get.side_effect = lambda what: {cv2.CAP_PROP_FPS: 30.0}.get(what, -1.0)
    images = [(True, make_image(i)) for i in range(3)]
    camera.read.side_effect = [*images, (False, None)]
    with mock.patch.object(cv2, 'VideoCapture', return_value=camera) as opened:
        assert run('2', '--format', 'json,wider') == 0
    opened.assert_called_once_with(2)
    assert [(r['image'], r['frame']) for r in records()] == [
        ('webcam 2', i) for i in range(3)
    ]
    assert len(read_video(Path('detections/webcam_2_faces.mkv'))) == 3
    assert len(files('detections/wider/webcam_2.frames')) == 3
    before = files('detections')
    assert '"input"' not in Path('detections/.finished.jsonl').read_text()
    assert run('photos', '--format', 'json,wider') == run('2') == 1
    assert files('detections') == before and len(records()) == 3


def test_progress_is_shown_on_a_terminal(run, folder, monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    terminal = Terminal()
    monkeypatch.setattr(sys, 'stderr', terminal)
    Path('photos/e.png').write_text('broken')
    assert run('photos', 'clip.avi', '--no-draw') == 3
    assert '| 10/10 [' in terminal.getvalue()


# ------------------------------------------------------------------ what cannot be used


def test_broken_inputs_are_named_and_counted(run, folder, make_image, capfd):
    Path('photos/broken.jpg').write_bytes(b'\xff\xd8\xff')
    Path('photos/bad.mp4').write_bytes(b'no video')
    content = Path('photos/a.png').read_bytes()
    Path(os.fsdecode(b'photos/cut \xe9.png')).write_bytes(content[:99])
    name = os.fsdecode(b'photos/\xe9.png')
    Path(name).write_bytes(content)
    pages = [Image.fromarray(make_image(seed)) for seed in range(3)]
    pages[0].save('photos/pages.tif', save_all=True, append_images=pages[1:])
    options = ('--batch-size', '2', '--max-faces', '999')
    assert run('photos', *options, '--format', 'json,csv,wider') == 3
    found = records()
    assert [Path(record['image']).stem for record in found] == [
        *('a', 'b', 'd', 'pages', Path(name).stem, 'c')
    ]
    # A name that is not UTF-8 is kept.
    assert found[4]['image'] == name
    same = [
        (np.reshape(record['bboxes'], (-1, 4)), np.array(record['scores']))
        for record in (found[4], found[0])
    ]
    # Not to the bit on each CPU: their batches hold other images beside them.
    assert compare_detections(*same).same
    assert Path('detections', f'{Path(name).stem}_faces.jpg').is_file()
    error = capfd.readouterr().err
    for left_out in ('broken.jpg', 'bad.mp4', 'cut'):
        assert f'left out: photos/{left_out} ' in error
    assert '3 inputs left out, see above' in error
    assert 'warning: photos/pages.tif holds several pictures' in error
    assert '1 warnings, see above' in error


def test_limit_and_edges(run, folder, capfd):
    assert run('photos', '--no-draw', '--no-clip') == 0
    whole = [np.reshape(record['bboxes'], (-1, 4)) for record in records()]
    assert any((boxes < 0).any() for boxes in whole)
    assert 'max-faces' not in capfd.readouterr().err
    options = ('--no-draw', '--max-faces', '2', '--overwrite')
    assert run('photos', 'clip.avi', *options) == 0
    for record in records():
        boxes = np.reshape(record['bboxes'], (-1, 4))
        assert len(boxes) <= 2 and (boxes >= 0).all()
        assert (boxes <= [record['width'], record['height']] * 2).all()
    error = capfd.readouterr().err
    assert error.count('warning: clip.avi: as many faces as --max-faces') == 1
    assert '9 images with as many faces' in error and '5 warnings' in error


def test_image_that_the_config_cannot_take(run, folder, tiny_narrow, make_image, capfd):
    cv2.imwrite('photos/c.png', make_image(0, 1, 1000))
    arguments = ['photos', '--checkpoint', str(tiny_narrow[1]), '--max-size', '0']
    assert run(*arguments, '--batch-size', '4') == 3
    assert [Path(r['image']).name for r in records()] == [
        *('a.png', 'b.png', 'd.png', 'c.png')
    ]
    error = capfd.readouterr().err
    assert (
        'left out: photos/c.png: the test pipeline cannot take an image of 1000x1 '
        'pixels'
    ) in error


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (['absent.jpg'], "no image or video found for 'absent.jpg'"),
        (
            ['photos', '--checkpoint', 'absent.pth', '--config', 'x.py'],
            'no config x.py',
        ),
        (['photos', '--multi-scale'], 'has no tta_model'),
        (['photos', '--score-thr', '2'], 'score_thr must be from 0 to 1, not 2.0'),
        (['photos', '--min-size', '-3'], 'min_size must be 0 or more, not -3.0'),
        (['photos', '--threads', '0'], 'threads must be 1 or more, not 0'),
        (['photos', '--out', 'clip.avi'], 'clip.avi'),
    ],
)
def test_errors(run, folder, capsys, arguments, message):
    assert run(*arguments) == 1
    error = capsys.readouterr().err
    assert error.startswith('detect: ') and message in error
    assert not Path('detections').exists()


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        ([], 'the following arguments are required: INPUT'),
        (['photos', '--format', 'json,xml'], "'xml' is none of json, csv, wider"),
        (['photos', '--hide', 'paint'], "invalid choice: 'paint'"),
        (['photos', '--hide', 'box', '--no-draw'], '--no-draw and'),
        (['photos', '--hide', 'box', '--hide-margin', '-1'], 'margins 0 or more'),
        (['photos', '--hide', 'box', '--out', '-'], '--out - none'),
        (['photos', '--save-crops', 'crops', '--out', '-'], '--save-crops does'),
        (['photos', '--hide-gap', '-1'], '--hide-gap must be 0 or more'),
        (['photos', '--every', '0'], '--every and --crop-min-size must be'),
        (['photos', '--batch-size', '0'], '--batch-size must be 1 or more'),
        (['photos', '--max-size', '-1'], '--max-size 0 or more'),
        (['photos', '--out', '-', '--format', 'json,csv'], '--format json or csv'),
        (['photos', '--out', '-', '--format', 'wider'], '--format json or csv'),
        (['photos', '--tile', '63'], '--tile must be 64 or more'),
    ],
)
def test_wrong_arguments(run, folder, capsys, arguments, message):
    with pytest.raises(SystemExit) as stopped:
        run(*arguments)
    assert stopped.value.code == 2
    assert message in capsys.readouterr().err


def test_what_cannot_be_written_stops_it(run, folder, capsys):
    Path('detections/a_faces.jpg').mkdir(parents=True)
    assert run('photos') == 1
    assert 'a_faces.jpg' in capsys.readouterr().err


def test_what_folders_hide_is_said(run, folder, monkeypatch, capsys):
    Path('photos/notes.txt').touch()
    find = command.find_sources

    def find_sources(inputs, outputs, skipped):
        skipped.add_folder(PermissionError(13, 'Permission denied', 'photos/no'))
        return find(inputs, outputs, skipped)

    monkeypatch.setattr(command, 'find_sources', find_sources)
    assert run('photos') == 3
    error = capsys.readouterr().err
    assert 'left out: photos/no: Permission denied' in error
    assert 'skipped in folders: 1 .txt' in error


def test_two_processes_with_one_out(run, folder, capsys):
    Path('detections').mkdir()
    Path('detections/faces.jsonl').write_text('finished\n')
    with open('detections/.lock', 'w') as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        print('process 7 on another machine', end='', file=lock, flush=True)
        assert run('photos') == 1
    assert 'process 7 on another machine' in capsys.readouterr().err
    assert files('detections') == ['.lock', 'faces.jsonl']
    assert Path('detections/faces.jsonl').read_text() == 'finished\n'
    assert run('photos') == 0
    assert '.lock' not in files('detections')


# ------------------------------------------------------------------ what it must not do


def test_inputs_are_never_written_to(run, folder):
    """Whatever they are called and wherever the outputs go."""
    for name in ('a_faces.jpg', 'faces.jsonl', 'clip_faces.mkv'):
        Path('photos', name).write_bytes(b'my own')
    before = {p: hashlib.md5(Path('photos', p).read_bytes()) for p in files('photos')}
    inputs = [f'photos/{name}' for name in before]
    assert run(*inputs, 'clip.avi', '--out', 'photos') == 3  # my own are no images
    for name, digest in before.items():
        content = Path('photos', name).read_bytes()
        assert hashlib.md5(content).digest() == digest.digest(), name
    new = set(files('photos')) - set(before)
    assert {'a_2_faces.jpg', 'faces_2.jsonl', 'clip_2_faces.mkv'} <= new


def test_outputs_do_not_become_inputs(run, folder):
    for _ in range(2):
        assert run('.', '--overwrite') == 0
        assert len(records()) == 9
    assert len(files('detections')) == 7


def test_memory_does_not_grow_with_a_video(run, folder, make_image, monkeypatch):
    """Counted: the frames that are alive when the next one is read.

    What was found on the frames before is on the disk then.
    """
    alive: weakref.WeakSet = weakref.WeakSet()
    most = 0

    def counted(sources, *rest):
        nonlocal most
        for i in range(40):
            assert len(records()) == i // 4 * 4
            frame = Frame(sources[0], make_image(i, 32, 32), i, 10.0)
            alive.add(frame)
            most = max(most, len(alive))
            yield frame
            del frame

    monkeypatch.setattr(command, 'frames', counted)
    gc.disable()
    try:
        assert run('clip.avi', '--batch-size', '4', '--format', 'json,csv,wider') == 0
    finally:
        gc.enable()
    assert len(records()) == 40
    assert most <= 4


# ------------------------------------------------------------------ to stdout, and COCO


def test_results_on_stdout(run, folder, capfd):
    """And nothing else, whatever prints meanwhile."""
    assert run('photos', 'clip.avi', '--out', '-') == 0
    captured = capfd.readouterr()
    found = [json.loads(line) for line in captured.out.splitlines()]
    assert len(found) == 9 and '9 images' in captured.err
    assert sorted(path.name for path in folder.iterdir()) == ['clip.avi', 'photos']
    assert run('photos', 'clip.avi', '--no-draw') == 0
    assert records() == found
    print('stdout is back')
    assert capfd.readouterr().out.endswith('stdout is back\n')


def test_coco(run, folder, detector):
    """Read by pycocotools; mmdet uses the same format."""
    assert run('photos', 'clip.avi', '--format', 'coco', '--no-draw') == 0
    assert files('detections') == [
        *('.faces_coco.jsonl', '.finished.jsonl', 'faces_coco.json')
    ]
    coco = COCO('detections/faces_coco.json')
    assert coco.loadCats(coco.getCatIds()) == [dict(id=1, name='face')]
    images = coco.loadImgs(coco.getImgIds())
    assert [(i['file_name'], i.get('frame')) for i in images[3:6]] == [
        ('photos/deep/c.png', None),
        *(('clip.avi', number) for number in range(2)),
    ]
    assert (images[0]['width'], images[0]['height']) == (40, 50)
    for image, name in zip(images, ['a', 'b', 'd'], strict=False):
        wanted = detector.detect(f'photos/{name}.png')
        found = coco.loadAnns(coco.getAnnIds(imgIds=image['id']))
        np.testing.assert_allclose([each['score'] for each in found], wanted.scores)
        x, y, width, height = np.transpose([each['bbox'] for each in found])
        bboxes = np.stack([x, y, x + width, y + height], axis=1)
        np.testing.assert_allclose(bboxes, wanted.bboxes, rtol=1e-5)
        assert [each['area'] for each in found] == pytest.approx(width * height)
    assert images[5]['time'] == 0.1 and 'track_id' not in found[0]


# ------------------------------------------------------------------------------ go on

ALL = ('photos', 'other', 'clip.avi', 'last.png', '--format', 'json,csv,wider,coco')


def results(out: str) -> dict[str, bytes | list[str]]:
    """All that is written but the drawn videos, which say when they were made."""
    names = [name for name in files(out) if not name.endswith('.mkv')]
    content = {name: Path(out, name).read_bytes() for name in names}
    # Of a stopped run, an image may be noted later.
    content['.finished.jsonl'] = sorted(content['.finished.jsonl'].split())
    return content


@pytest.fixture
def namesakes(folder) -> None:
    """More inputs, one with the name of another."""
    shutil.copytree('photos/deep', 'other/deep')
    shutil.copy('photos/b.png', 'other/a.png')
    shutil.copy('photos/d.png', 'last.png')


@pytest.mark.parametrize(
    ('windows', 'more'),
    [
        (1, ()),
        (8, ()),
        # What waits for later frames is lost.
        (10, ('--every', '2', '--hide', 'box', '--save-crops', 'crops')),
    ],
)
def test_a_run_that_was_stopped_goes_on(
    run, namesakes, monkeypatch, capfd, tmp_path, windows, more
):
    """With the same results as one that was not; stopped in images and in a video."""
    assert run(*ALL, *more, '--out', 'whole') == 0
    call, calls = command.Run.__call__, []

    def stopped(self, window):
        calls.append(window)
        if len(calls) > windows:
            self.writers[0]._append('half a li')
            raise KeyboardInterrupt
        return call(self, window)

    with monkeypatch.context() as patch:
        patch.setattr(command.Run, '__call__', stopped)
        assert run(*ALL, *more) == 130
    capfd.readouterr()
    assert run(*ALL, *more) == 0
    captured = capfd.readouterr()
    skipped = min(windows - 1, 6)  # the last one may not have been whole
    if skipped:
        assert f'{skipped} inputs skipped' in captured.err
    assert f'{12 - skipped} images' in captured.out
    assert files('detections') == files('whole')
    assert {'a_2_faces.jpg', 'crops/a_2_0.jpg'} & set(files('whole'))
    assert results('detections') == results('whole')
    (video,) = Path('detections').glob('clip_*.mkv')
    assert len(read_video(video)) == 5


def test_what_is_finished_is_skipped(run, namesakes, capfd):
    assert run(*ALL[:-2]) == 0
    before = results('detections')
    capfd.readouterr()
    assert run(*ALL[:-2]) == 0
    captured = capfd.readouterr()
    assert '0 images, 0 faces' in captured.out and '8 inputs skipped' in captured.err
    assert results('detections') == before
    shutil.copy('last.png', 'photos/new.png')
    assert run(*ALL[:-2]) == 0
    assert [record['image'] for record in records()][-1] == 'photos/new.png'
    assert len(records()) == 13


@pytest.mark.parametrize(
    ('more', 'message'),
    [
        (('--score-thr', '0.3'), 'holds results with score_thr 0.5, not 0.3'),
        (('--format', 'csv'), "with formats ['json'], not ['csv']"),
        (('7',), 'to which webcams, streams and stdin cannot add'),
        (('--checkpoint', 'other.pth'), 'holds results with model'),
    ],
)
def test_results_of_different_runs_are_not_mixed(
    run, folder, tiny, capsys, more, message
):
    state = torch.load(tiny[1], weights_only=True)
    torch.save(state | dict(meta={}), 'other.pth')
    shutil.copy(tiny[0], 'other.py')
    more = (*more, '--config', 'other.py') if 'other.pth' in more else more
    assert run('photos/a.png') == 0
    before = results('detections')
    assert run('photos/a.png', *more) == 1
    error = capsys.readouterr().err
    assert message in error and '--overwrite' in error
    assert results('detections') == before
    assert run('photos/a.png', *more, '--overwrite') in (0, 3)  # there is no webcam 7
    assert 'a_faces.jpg' in files('detections')


def test_changed_inputs_and_results_are_noticed(run, folder, capsys):
    assert run('photos') == 0
    os.utime('photos/b.png', (0, 0))
    assert run('photos') == 1
    assert 'photos/b.png has changed since' in capsys.readouterr().err
    Path('detections/faces.jsonl').write_text('')
    assert run('photos/a.png') == 1
    assert 'faces.jsonl was changed or removed' in capsys.readouterr().err
    Path('detections/.finished.jsonl').write_text('{"input": 1}\n[2]\n')
    assert run('photos/a.png') == 1
    assert '.finished.jsonl is damaged' in capsys.readouterr().err
    assert run('photos', '--overwrite') == 0
    assert len(records()) == 4


def test_what_was_left_out_is_not_forgotten(run, folder, capsys):
    """A broken image is tried again, the frames of a cut video are not doubled."""
    clip = write_video(folder / 'cut.avi', 40)
    clip.write_bytes(clip.read_bytes()[: clip.stat().st_size // 2])
    shutil.move('photos/a.png', 'a.png')
    Path('photos/a.png').write_text('broken')
    assert run('cut.avi', 'photos', '--no-draw') == 3
    found = records()
    for number in (2, 1):
        capsys.readouterr()
        assert run('cut.avi', 'photos', '--no-draw') == 3
        error = capsys.readouterr().err
        assert 'left out: cut.avi ended after' in error
        assert f'{number} inputs left out' in error
        assert records()[: len(found)] == found
        os.replace('a.png', 'photos/a.png') if number == 2 else None
    assert len(records()) == len(found) + 1


# ------------------------------------------------------------------------------ Ctrl-C


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM])
def test_first_interrupt_finishes_what_was_begun(
    run, folder, monkeypatch, capsys, number
):
    call, calls = command.Run.__call__, []

    def interrupted(self, window):
        calls.append(window)
        if len(calls) == 6:
            signal.raise_signal(number)
        return call(self, window)

    monkeypatch.setattr(command.Run, '__call__', interrupted)
    before = signal.getsignal(number)
    assert run('photos', 'clip.avi', '--format', 'json,csv') == 128 + number
    assert signal.getsignal(number) is before
    captured = capsys.readouterr()
    assert 'stopped; what was finished is there' in captured.err
    assert len(records()) == 6
    faces = sum(len(record['scores']) for record in records())
    assert f'6 images, {faces} faces; written to detections' in captured.out
    assert len(Path('detections/faces.csv').read_text().splitlines()) == 1 + faces
    assert len(read_video(Path('detections/clip_faces.mkv'))) == 2


def test_second_interrupt_stops_at_once(run, folder, monkeypatch):
    def interrupted(self, window):
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)
        raise AssertionError('not reached')

    monkeypatch.setattr(command.Run, '__call__', interrupted)
    before = signal.getsignal(signal.SIGINT)
    assert run('photos') == 130
    assert signal.getsignal(signal.SIGINT) is before


# --------------------------------------------------------------------------- the model


def test_the_shipped_model_is_the_default(folder, capsys):
    """On a photograph of a face that comes with scikit-image."""
    image = pytest.importorskip('skimage.data').astronaut()
    cv2.imwrite(str(folder / 'astronaut.png'), image[:, :, ::-1])
    assert command.main([str(folder / 'astronaut.png'), '--device', 'cpu']) == 0
    assert '1 images, 1 faces' in capsys.readouterr().out
