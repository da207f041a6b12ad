import csv
import json
import os
from dataclasses import replace
from pathlib import Path, PurePath

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmdet_srn.detector.frames import Frame
from mmdet_srn.detector.pictures import DrawnFiles
from mmdet_srn.detector.sources import Source
from mmdet_srn.detector.writers import (
    CSV_HEADER,
    Csv,
    JsonLines,
    OutputNames,
    WIDERText,
)
from mmdet_srn.evaluation import read_results
from tests.test_detector.shown import (
    PIXELS,
    VIDEO,
    WEBCAM,
    faces,
    files,
    image,
    write,
)

SHOWN = [
    (image('photos/a.jpg'), faces(3, 0)),
    (image('photos/b, "c".jpg'), faces(0)),
    (Frame(VIDEO, PIXELS, 0), faces(1, 1)),
    (Frame(VIDEO, PIXELS, 1), faces(2, 2)),
    (Frame(WEBCAM, PIXELS, 7), faces(1, 3)),
]


# -------------------------------------------------------------------------------- names


def test_inputs_and_names_outside_the_folder_are_never_given_out(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'link').symlink_to(tmp_path)
    names = OutputNames(Path('.'), ['a_faces.jpg', 'link/b_faces.jpg'])
    assert names.claim(PurePath('a'), '_faces.jpg') == Path('a_2_faces.jpg')
    assert names.claim(PurePath('a'), '_faces.jpg') == Path('a_3_faces.jpg')
    assert names.claim(PurePath('link/b'), '_faces.jpg') == Path('link/b_2_faces.jpg')
    for name in ('../../x', '/etc/x', '../x'):
        assert tmp_path in names.claim(PurePath(name), '.txt').resolve().parents


@given(st.lists(st.sampled_from(['a', 'a_2', 'a_2_2', 'b/a', '../a']), max_size=12))
def test_no_name_is_given_out_twice(wanted):
    names = OutputNames(Path('folder'))
    paths = [names.claim(PurePath(name), '.txt') for name in wanted]
    assert len({path.resolve() for path in paths}) == len(wanted)


# ------------------------------------------------------------------------------ results


def test_json_lines(tmp_path):
    path = write(JsonLines, tmp_path, SHOWN)
    assert path == tmp_path / 'faces.jsonl'
    records = [json.loads(line) for line in path.read_text().splitlines()]
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
    path = write(Csv, tmp_path, SHOWN)
    assert path == tmp_path / 'faces.csv'
    with path.open(newline='') as file:
        rows = list(csv.reader(file))
    assert tuple(rows[0]) == CSV_HEADER
    wanted = [
        (str(frame.source), '' if frame.index is None else str(frame.index), box, score)
        for frame, found in SHOWN
        for box, score in zip(found.bboxes, found.scores, strict=True)
    ]
    for row, (name, index, box, score) in zip(rows[1:], wanted, strict=True):
        assert row[:4] == [name, index, '96', '64']
        np.testing.assert_array_equal(np.float32(row[4:9]), [*box, score])
        assert row[9:] == ['', '']  # no time, no id


@pytest.mark.parametrize('kind', [JsonLines, Csv])
def test_results_are_on_the_disk_at_once(tmp_path, kind):
    writer = kind(tmp_path)
    lines = len(writer.path.read_text().splitlines())
    for frame, found in SHOWN:
        writer.write(frame, found)
        lines += 1 if kind is JsonLines else len(found)
        content = writer.path.read_text()
        assert content.endswith('\n') and len(content.splitlines()) == lines
    writer.close()


def test_times_and_ids(tmp_path):
    found = replace(faces(2), ids=np.array([4, -1]))
    shown = [(Frame(VIDEO, PIXELS, 3, 10.0, 0.1 + 0.2), found)]
    (line,) = write(JsonLines, tmp_path, shown).read_text().splitlines()
    record = json.loads(line)
    assert (record['frame'], record['time'], record['ids']) == (3, 0.3, [4, None])
    with write(Csv, tmp_path, shown).open(newline='') as file:
        rows = list(csv.DictReader(file))
    assert [(row['time'], row['id']) for row in rows] == [('0.3', '4'), ('0.3', '')]


def test_wider_text_is_what_the_evaluation_reads(tmp_path):
    shown = [
        (image(str(tmp_path / '0--Parade/0_Parade_7.jpg')), faces(4, 0)),
        (image(str(tmp_path / '1--Riot/1_Riot_3.png')), faces(0)),
    ]
    path = write(WIDERText, tmp_path, shown)
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
    assert files(path) == [f'{name}.txt' for name in names]
    assert sorted(os.listdir(path)) == ['0--Parade', '1--Riot']


def test_wider_text_of_namesakes_and_videos(tmp_path, monkeypatch):
    folder = tmp_path / 'photos'
    folder.mkdir()
    monkeypatch.chdir(folder)
    other = Source('video', 'other/clip.avi', PurePath('clip'))
    shown = [(image(name), faces(1)) for name in ('a.jpg', '../photos/a.png')]
    shown += [(Frame(VIDEO, PIXELS, i), faces(1)) for i in range(2)]
    shown += [(Frame(other, PIXELS, 0), faces(2)), (Frame(WEBCAM, PIXELS, 0), faces(0))]
    # A folder with the name that the frames of a video get.
    shown += [(image('/x/clip.frames/000000.jpg'), faces(3))]
    path = write(WIDERText, tmp_path, shown)
    texts = {
        p.relative_to(path).as_posix(): p.read_text().splitlines()
        for p in path.rglob('*.txt')
    }
    assert {name: int(lines[1]) for name, lines in texts.items()} == {
        'photos/a.txt': 1,
        'photos/a_2.txt': 1,
        **{f'clip.frames/{i:06}.txt': 1 for i in range(2)},
        'clip_2.frames/000000.txt': 2,
        'webcam_0.frames/000000.txt': 0,
        'clip.frames_/000000.txt': 3,
    }
    assert texts['clip.frames/000001.txt'][0] == 'clip.frames/000001'


def test_names_that_are_not_utf8(tmp_path):
    shown = [(image(os.fsdecode(b'/x/photos/caf\xe9.jpg')), faces(1))]
    line = write(JsonLines, tmp_path, shown).read_text()
    assert os.fsencode(json.loads(line)['image']) == b'/x/photos/caf\xe9.jpg'
    assert b'caf\xe9.jpg' in write(Csv, tmp_path, shown).read_bytes()
    (path,) = write(WIDERText, tmp_path, shown).rglob('*.txt')
    assert os.fsencode(path.name) == b'caf\xe9.txt'
    assert path.read_text(encoding='utf-8').splitlines()[0] == 'photos/caf?.jpg'
    drawn = DrawnFiles(tmp_path / os.fsdecode(b'\xe9'))
    with pytest.raises(OSError, match='not UTF-8'):  # OpenCV would end the process
        drawn.write(Frame(VIDEO, PIXELS, 0), faces(0))
