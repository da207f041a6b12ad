import csv
import json
import os
from pathlib import Path, PurePath

import numpy as np
import pytest

from mmdet_srn.detector import FaceDetections
from mmdet_srn.detector.sources import Frame, Source
from mmdet_srn.detector.writers import CSV_HEADER, Csv, JsonLines, WIDERText
from mmdet_srn.evaluation import read_results

PIXELS = np.zeros((64, 96, 3), np.uint8)


def image(location: str) -> Frame:
    name = PurePath(location).with_suffix('')
    return Frame(Source('image', location, PurePath(name.name)), PIXELS)


def video_frame(source: Source, index: int) -> Frame:
    return Frame(source, PIXELS, index)


VIDEO = Source('video', 'clips/clip.avi', PurePath('clip'))
WEBCAM = Source('webcam', '0', PurePath('webcam_0'))


def faces(number: int, seed: int = 0) -> FaceDetections:
    rng = np.random.default_rng(seed)
    bboxes = rng.uniform(-5, 100, (number, 4)).astype(np.float32)
    bboxes[:, 2:] += bboxes[:, :2] + 5  # x2 > x1, y2 > y1
    scores = np.sort(rng.uniform(size=number).astype(np.float32))[::-1]
    return FaceDetections(bboxes, scores, 96, 64)


SHOWN = [
    (image('photos/a.jpg'), faces(3, 0)),
    (image('photos/b, "c".jpg'), faces(0)),
    (video_frame(VIDEO, 0), faces(1, 1)),
    (video_frame(VIDEO, 1), faces(2, 2)),
    (video_frame(WEBCAM, 7), faces(1, 3)),
]


def write(kind, folder: Path, shown=SHOWN, inputs=()) -> Path:
    writer = kind(folder, inputs)
    for frame, found in shown:
        writer.write(frame, found)
    writer.close()
    return writer.path


def test_json_lines(tmp_path):
    path = write(JsonLines, tmp_path)
    assert path == tmp_path / 'faces.jsonl'
    records = [json.loads(line) for line in path.read_text().splitlines()]
    assert len(records) == len(SHOWN)
    for record, (frame, found) in zip(records, SHOWN, strict=True):
        assert record['image'] == str(frame.source)
        assert record.get('frame') == frame.index
        assert (record['width'], record['height']) == (96, 64)
        # The numbers give the float32 back, to the bit.
        bboxes = np.array(record['bboxes'], np.float32).reshape(-1, 4)
        np.testing.assert_array_equal(bboxes, found.bboxes)
        np.testing.assert_array_equal(np.float32(record['scores']), found.scores)
    assert records[-1]['image'] == 'webcam 0'


def test_csv(tmp_path):
    path = write(Csv, tmp_path)
    assert path == tmp_path / 'faces.csv'
    with path.open(newline='') as file:
        rows = list(csv.reader(file))
    assert tuple(rows[0]) == CSV_HEADER
    wanted = [
        (str(frame.source), '' if frame.index is None else str(frame.index), box, score)
        for frame, found in SHOWN
        for box, score in zip(found.bboxes, found.scores, strict=True)
    ]
    assert len(rows) - 1 == len(wanted) == 7
    for row, (name, index, box, score) in zip(rows[1:], wanted, strict=True):
        assert row[:4] == [name, index, '96', '64']
        np.testing.assert_array_equal(np.float32(row[4:]), [*box, score])


@pytest.mark.parametrize('kind', [JsonLines, Csv])
def test_what_was_written_is_there_before_the_end(tmp_path, kind):
    writer = kind(tmp_path)
    lines = len(writer.path.read_text().splitlines())
    for frame, found in SHOWN:
        writer.write(frame, found)
        lines += 1 if kind is JsonLines else len(found)
        content = writer.path.read_text()
        assert content.endswith('\n') and len(content.splitlines()) == lines
    writer.close()


def test_older_files_are_replaced_but_inputs_are_not(tmp_path):
    older = tmp_path / 'faces.jsonl'
    older.write_text('older\n' * 1000)
    assert write(JsonLines, tmp_path) == older
    assert 'older' not in older.read_text()
    older.write_text('an input\n')
    assert write(JsonLines, tmp_path, inputs=[str(older)]) != older
    assert older.read_text() == 'an input\n'


def test_wider_text_is_what_the_evaluation_reads(tmp_path):
    shown = [
        (image(str(tmp_path / '0--Parade/0_Parade_7.jpg')), faces(4, 0)),
        (image(str(tmp_path / '1--Riot/1_Riot_3.png')), faces(0)),
    ]
    path = write(WIDERText, tmp_path, shown)
    assert path == tmp_path / 'wider'
    names = ['0--Parade/0_Parade_7', '1--Riot/1_Riot_3']
    detections, report = read_results(path, names)
    assert not any(report.odd.values()) and report.num_rows == 4
    found = shown[0][1]
    x1, y1, x2, y2 = found.bboxes.astype(np.float64).T
    wanted = np.stack((x1, y1, x2 - x1, y2 - y1, found.scores.astype(float)), axis=1)
    np.testing.assert_array_equal(detections.rows, wanted)
    lines = (path / f'{names[0]}.txt').read_text().splitlines()
    assert lines[:2] == ['0--Parade/0_Parade_7.jpg', '4']
    # Nothing but the result files is left.
    assert sorted(p.name for p in path.rglob('*') if p.is_file()) == [
        *('0_Parade_7.txt', '1_Riot_3.txt')
    ]
    assert sorted(p.name for p in path.iterdir()) == ['0--Parade', '1--Riot']


def test_wider_text_of_the_working_folder_and_of_namesakes(tmp_path, monkeypatch):
    folder = tmp_path / 'photos'
    folder.mkdir()
    monkeypatch.chdir(folder)
    shown = [(image(name), faces(1)) for name in ('a.jpg', '../photos/a.png')]
    path = write(WIDERText, tmp_path, shown)
    assert sorted(p.relative_to(path).as_posix() for p in path.rglob('*.txt')) == [
        'photos/a.txt',
        'photos/a_2.txt',
    ]


def test_wider_text_of_videos(tmp_path):
    other = Source('video', 'other/clip.avi', PurePath('clip'))
    shown = [(video_frame(VIDEO, i), faces(1)) for i in range(3)]
    shown += [(video_frame(other, 0), faces(2)), (video_frame(WEBCAM, 0), faces(0))]
    # A folder with the name that the frames of a video get.
    shown += [(image('/x/clip.frames/000000.jpg'), faces(3))]
    path = write(WIDERText, tmp_path, shown)
    counts = {
        p.relative_to(path).as_posix(): int(p.read_text().splitlines()[1])
        for p in path.rglob('*.txt')
    }
    assert counts == {
        **{f'clip.frames/{i:06}.txt': 1 for i in range(3)},
        'clip_2.frames/000000.txt': 2,
        'webcam_0.frames/000000.txt': 0,
        'clip.frames_/000000.txt': 3,
    }
    first = (path / 'clip.frames/000002.txt').read_text().splitlines()[0]
    assert first == 'clip.frames/000002'


def test_names_that_are_no_utf_8(tmp_path):
    shown = [(image(os.fsdecode(b'/x/photos/caf\xe9.jpg')), faces(1))]
    line = write(JsonLines, tmp_path, shown).read_text()
    assert os.fsencode(json.loads(line)['image']) == b'/x/photos/caf\xe9.jpg'
    assert b'caf\xe9.jpg' in write(Csv, tmp_path, shown).read_bytes()
    (path,) = write(WIDERText, tmp_path, shown).rglob('*.txt')
    assert os.fsencode(path.name) == b'caf\xe9.txt'
    assert path.read_text(encoding='utf-8').splitlines()[0] == 'photos/caf?.jpg'
