"""Damaged and hostile files through every reader.

    python -m tests.fuzz [--runs 10000] [--seed 0]

Damages valid and code-running files at random. A reader may accept such a file or raise
an error that names it; an error without the name, ten seconds without an end, or code
that ran is a fault. Prints the faults and counts per reader; exits with 1 on faults.
test_fuzz.py runs a part of it.
"""

import argparse
import io
import json
import os
import pickle
import random
import signal
import sys
import tempfile
import warnings
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import FrameType

import cv2
import numpy as np
import scipy.io
import torch
from mmengine.logging import HistoryBuffer

from mmdet_srn.checkpoint_file import load_checkpoint
from mmdet_srn.datasets.coco_json_reader import parse_coco_json
from mmdet_srn.datasets.formats import clean, read_annotation, write_annotation
from mmdet_srn.datasets.wider_face_txt_reader import (
    AnnotationError,
    read_wider_face_txt,
)
from mmdet_srn.detector.images import read_image
from mmdet_srn.evaluation.mat_file import load_mat
from mmdet_srn.evaluation.prediction_file import read_json_lines
from mmdet_srn.evaluation.wider_face_results import read_results
from tests.test_datasets.test_formats import exports
from tests.test_detector.constant_onnx import SETTINGS, write_onnx

MARK = 'the_file_ran_code'
SECONDS = 10
# Likely stumbling blocks: numbers out of range, wrong types, other line ends.
TOKENS = [
    *(b'nan', b'inf', b'-1', b'1e999', b'99999999999999999999', b'0.5', b'""', b'null'),
    *(b'\n', b'\r', b'\0', b'\xff', b' ', b'\t', b'{', b'}', b'[', b']', b',', b'../'),
    *(b'"type"', b'"os.mkdir"', b'true', '\u0665'.encode(), b'\xef\xbb\xbf'),
]


class _RunsCode:
    def __reduce__(self) -> tuple:
        return os.mkdir, (MARK,)


class _TookTooLong(BaseException):
    """No reader catches it."""


def damage(data: bytes, rng: random.Random) -> bytes:
    """Change some bytes, tokens or whole parts."""
    content = bytearray(data)
    for _ in range(rng.choice([0, 1, 1, 2, 4, 16])):
        start = rng.randrange(len(content) + 1)
        stop = min(len(content), start + rng.choice([0, 1, 2, 8, 64]))
        kind = rng.randrange(5)
        if kind == 0:
            content[start:stop] = rng.choice(TOKENS)
        elif kind == 1:
            content[start:stop] = rng.randbytes(stop - start)
        elif kind == 2:
            content[start:stop] *= 2
        elif kind == 3:
            del content[start:stop]
        elif rng.random() < 0.2:
            del content[start:]
    return bytes(content)


def _annotations() -> list[bytes]:
    row = b'10 20 30 40 0 0 0 0 0 0\n'
    text = b'a/x.jpg\n2\n' + row + row + b'b/y.jpg\n0\n' + b'0 0 0 0 0 0 0 0 0 0\n'
    return [text, text.replace(b'\n', b'\r\n'), b'a/x.jpg\nb/y.jpg\n']


def _coco() -> list[bytes]:
    face = dict(id=1, image_id=1, category_id=1, bbox=[1, 2, 30, 40], area=1200)
    content = dict(
        images=[dict(id=1, file_name='a/x.jpg', width=64, height=48)],
        annotations=[{**face, 'iscrowd': 0}, {**face, 'id': 2, 'iscrowd': 1}],
        categories=[dict(id=1, name='face')],
    )
    return [json.dumps(content).encode()]


def _exports(*kinds: Callable[[Path], Path]) -> list[bytes]:
    """Annotations as tools export them; of a folder, the file of its first image."""
    found = []
    for export in kinds:
        with tempfile.TemporaryDirectory() as folder:
            path = export(Path(folder))
            if path.is_dir():
                path = next(
                    each for each in path.rglob('one.*') if each.suffix != '.jpg'
                )
            found.append(path.read_bytes())
    return found


def _lists() -> list[bytes]:
    e = exports
    return _exports(e.datumaro, e.datumaro_label, e.retinaface, e.lines, e.keras)


def _convert(path: Path) -> None:
    """Convert a list, or a file beside its image."""
    exports.write_images(path.parent)
    exports.write_images(path.parent, [f'{path.stem}.jpg'])
    source = path
    if path.suffix == '.txt' and path.stem == 'one':  # YOLO's are read by folder
        source = path.parent / 'yolo'
        exports.write_images(source, ['one.jpg'])
        path.replace(source / path.name)
    name, images = read_annotation(source)
    try:
        kept, _ = clean(images, path.parent if source == path else source, ['face'])
    except AnnotationError as error:  # which names the image
        raise AnnotationError(f'{path}: {error}') from error
    for suffix in ('.txt', '.json'):
        write_annotation(path.with_name(f'converted{suffix}'), kept, ['face'])


def _results() -> list[bytes]:
    return [b'a/x\n2\n1 2 30 40 0.9\n5 6 7 8 0.1\n', b'a/x\n0\n']


def _json_lines() -> list[bytes]:
    found = dict(bboxes=[[1.5, 2, 30, 40], [5, 6, 7, 8]], scores=[0.9, 0.1])
    none = dict(bboxes=[], scores=[])
    lines = [json.dumps(dict(image='a/x.jpg', **faces)) for faces in (found, none)]
    return ['\n'.join(lines).encode()]


def _mats() -> list[bytes]:
    cells = np.empty((2, 1), object)
    cells[:] = [[np.array([['a/x']])], [np.arange(8.0).reshape(2, 4)]]
    found = []
    for compressed in (False, True):
        file = io.BytesIO()
        scipy.io.savemat(file, dict(event_list=cells), do_compression=compressed)
        found.append(file.getvalue())
    return found


def _images() -> list[bytes]:
    image = np.random.default_rng(0).integers(0, 255, (24, 32, 3), dtype=np.uint8)
    suffixes = ('.jpg', '.png', '.webp', '.tiff', '.bmp')
    return [cv2.imencode(suffix, image)[1].tobytes() for suffix in suffixes]


def _checkpoints() -> list[bytes]:
    weights = dict(state_dict=dict(weight=torch.ones(2, 3)))
    log = HistoryBuffer()
    log.update(0.5)
    contents = [weights, {**weights, 'message_hub': dict(loss=log), 'meta': {}}]
    found = []
    for content in (*contents, {**weights, 'meta': _RunsCode()}):
        for zipped in (True, False):
            file = io.BytesIO()
            torch.save(content, file, _use_new_zipfile_serialization=zipped)
            found.append(file.getvalue())
    return [*found, pickle.dumps(_RunsCode())]


def _onnx_metadata() -> list[bytes]:
    resize = dict(type='Resize', scale=[64, 64], keep_ratio=True)
    settings = {**SETTINGS, 'resize': [resize]}
    hostile = {**settings, 'resize': [dict(type='os.mkdir', path=MARK)]}
    return [json.dumps(s).encode() for s in (settings, hostile)]


def _read_onnx(path: Path) -> None:
    """A file with this metadata: one line of JSON, or else one text for all."""
    from mmdet_srn.detector.onnx_backend import OnnxBackend

    data = path.read_bytes()
    try:
        metadata = {str(k): v for k, v in json.loads(data).items()}
    except (ValueError, AttributeError, RecursionError):
        metadata = dict.fromkeys(('format', 'form', 'resize'), data)
    write_onnx(path, metadata=metadata)
    OnnxBackend(path)


def _read_result(path: Path) -> None:
    (path.parent / 'a').mkdir(exist_ok=True)
    path.replace(path.parent / 'a' / 'x.txt')
    read_results(path.parent, ['a/x'])


#: Name of the file, contents that are damaged, what reads it.
READERS: dict[str, tuple[str, Callable[[], list[bytes]], Callable[[Path], object]]] = {
    'annotation': ('faces.txt', _annotations, read_wider_face_txt),
    'coco': (
        'faces.json',
        _coco,
        lambda path: parse_coco_json(path.read_bytes(), str(path)),
    ),
    'lists': ('faces.txt', _lists, _convert),
    'csv': ('faces.csv', lambda: _exports(exports.csv, exports.csv_sizes), _convert),
    'yolo': (
        'one.txt',
        lambda: _exports(exports.yolo, exports.yolo_polygons),
        _convert,
    ),
    'voc': ('one.xml', lambda: _exports(exports.voc), _convert),
    'json': ('one.json', lambda: _exports(exports.labelme, exports.coco), _convert),
    'results': ('result.txt', _results, _read_result),
    'json lines': ('faces.jsonl', _json_lines, read_json_lines),
    'mat': ('truth.mat', _mats, lambda path: load_mat(path, ['event_list'])),
    'image': ('photo.jpg', _images, read_image),
    'checkpoint': ('weights.pth', _checkpoints, load_checkpoint),
    'onnx': ('model.onnx', _onnx_metadata, _read_onnx),
}


def try_one(reader: str, data: bytes, folder: Path) -> tuple[str, str]:
    """Read one file; return 'taken', 'refused' or 'fault', and the message."""
    name, _, read = READERS[reader]
    path = folder / name
    path.write_bytes(data)

    def stop(number: int, frame: FrameType | None) -> None:
        raise _TookTooLong

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, SECONDS)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')
            read(path)
        outcome = 'taken', ''
    except _TookTooLong:
        outcome = 'fault', f'not done after {SECONDS} s'
    except Exception as error:
        said = f'{type(error).__name__}: {error}'
        outcome = ('refused' if name in str(error) else 'fault'), said
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    if Path(MARK).exists():
        Path(MARK).rmdir()
        outcome = 'fault', 'the file ran code'
    return outcome


def fuzz(reader: str, runs: int, seed: int, folder: Path) -> tuple[Counter, list[str]]:
    """Damage ``runs`` files for one reader of :data:`READERS`.

    The folder is written to, and must be the working folder, where code would leave a
    mark.

    Returns:
        Counts of the outcomes, and the faults.
    """
    rng = random.Random(f'{reader} {seed}')
    seeds = READERS[reader][1]()
    counts, faults = Counter(), []
    for run in range(runs):
        outcome, said = try_one(reader, damage(rng.choice(seeds), rng), folder)
        counts[outcome] += 1
        if outcome == 'fault':
            faults.append(f'{reader} {seed}, file {run}: {said[:300]}')
    return counts, faults


def main() -> int:
    """Run all readers."""
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('--runs', type=int, default=10_000, help='files in all')
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--readers', nargs='+', default=list(READERS), choices=READERS)
    args = parser.parse_args()
    found = []
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        for reader in args.readers:
            runs = -(-args.runs // len(args.readers))
            counts, faults = fuzz(reader, runs, args.seed, Path(folder))
            print(f'{reader:12}', dict(counts), flush=True)
            found += faults
        os.chdir('/')
    print(*found, sep='\n')
    return bool(found)


if __name__ == '__main__':
    sys.exit(main())
