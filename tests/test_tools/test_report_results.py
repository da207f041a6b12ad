"""report_results.py: from each kind of results to figures and pictures."""

import json
import pickle

import cv2
import numpy as np
import pytest
import torch
from matplotlib import pyplot as plt

from mmdet_srn.evaluation.wider_face_results import write_results
from tests.tool_loader import load_tool

# Image -> faces x y w h, ignored; detections x y w h score. The second face of a.png is
# found at .25 only, its third detection is false; in b.png a face is ignored.
FACES = {
    'a.png': [(10, 10, 20, 20, 0), (40, 10, 40, 40, 0)],
    'sub/b.png': [(0, 0, 12, 12, 0), (50, 50, 20, 20, 1)],
    'c.png': [],
}
FOUND = {
    'a.png': [(10, 10, 20, 20, 0.9), (40, 10, 40, 38, 0.25), (60, 60, 10, 10, 0.75)],
    'sub/b.png': [(0, 0, 12, 12, 0.625), (50, 50, 20, 20, 0.99)],
    'c.png': [(70, 50, 40, 20, 0.875)],
}
NAMES = ['detections', 'mistakes', 'pr_curve', 'thresholds']


@pytest.fixture(scope='module')
def tool():
    return load_tool('report_results')


@pytest.fixture
def images(tmp_path):
    folder = tmp_path / 'images'
    for name in FACES:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        image = np.full((80, 100, 3), 90, np.uint8)
        path.write_bytes(cv2.imencode('.png', image)[1].tobytes())
    return folder


@pytest.fixture
def ann(images):
    """In WIDER FACE's text."""
    lines = []
    for name, faces in FACES.items():
        lines += [name, str(len(faces))]
        lines += [f'{x} {y} {w} {h} 0 0 0 {i} 0 0' for x, y, w, h, i in faces]
        lines += ['0 ' * 10] * (not faces)
    path = images / 'labels.txt'
    path.write_text('\n'.join(lines) + '\n')
    return path


def corners(rows):
    boxes = np.array(rows, float).reshape(-1, 5)[:, :4]
    boxes[:, 2:] += boxes[:, :2]
    return boxes


@pytest.fixture
def results(images):
    """As mim test --out writes them."""
    results = []
    for name, faces in FACES.items():
        instances = [
            dict(bbox=box, bbox_label=0, ignore_flag=face[4])
            for box, face in zip(corners(faces).tolist(), faces, strict=True)
        ]
        scores = torch.tensor([row[4] for row in FOUND[name]])
        found = dict(
            bboxes=torch.tensor(corners(FOUND[name])),
            scores=scores,
            labels=torch.zeros(len(scores), dtype=torch.long),
        )
        path = str(images / name)
        results.append(dict(img_path=path, instances=instances, pred_instances=found))
    return results


@pytest.fixture
def run(tool, tmp_path, capsys, monkeypatch):
    """Run the tool on a list of results or a file; return its folder and output."""

    def run_tool(results, *arguments, figures=False):
        if not figures:  # they take most of the time
            monkeypatch.setattr(tool, 'save_figure', lambda figure, path: plt.close())
        if isinstance(results, list):
            path = tmp_path / 'results.pkl'
            path.write_bytes(pickle.dumps(results))
            results = path
        out = tmp_path / 'report'
        tool.main([*map(str, (results, out, *arguments))])
        return out, capsys.readouterr().out

    return run_tool


def row(said, start):
    """The cells of the table's row that starts so."""
    (line,) = [line for line in said.splitlines() if line.lstrip().startswith(start)]
    return line.replace(start, '', 1).split()


def test_figures_and_pictures(run, results):
    out, said = run(results, '--protocol', 'vga', figures=True)
    assert 'protocol vga' in said and 'not official' in said
    # At .5: 2 of 3 faces, 2 false positives in 3 images.
    assert row(said, 'as given') == ['0.5', '0.5000', '0.6667', '0.5714', '0.6667']
    assert row(said, 'best F1') == ['0.24', '0.6000', '1.0000', '0.7500', '0.6667']
    assert row(said, 'precision 0.95') == [
        '0.89',
        '1.0000',
        '0.3333',
        '0.5000',
        '0.0000',
    ]
    assert row(said, 'lt16')[:1] == ['1'] and row(said, 'ge96')[:2] == ['0', '-']
    assert row(said, '32to96') == ['1', '1.0000', '-', '0.0000', '0.0000']
    report = json.loads((out / 'report.json').read_text())
    assert (report['version'], report['images'], report['protocol']) == (1, 3, 'vga')
    assert report['thresholds'] == dict(
        score_thr=0.5, best_f1=0.24, wished_precision=0.89
    )
    every = report['by_height']['all']
    assert every['at']['best_f1'] == dict(
        threshold=0.24,
        precision=0.6,
        recall=1.0,
        f1=0.75,
        true_positives=3,
        false_positives=2,
        false_positives_per_image=2 / 3,
    )
    curve = every['curve']
    assert curve['threshold'][50] == 0.5 and curve['recall'][50] == 2 / 3
    assert curve['precision'][100] is None  # nothing has a score of 1
    # A threshold of its own that finds the large face.
    large = report['by_height']['32to96']
    assert large['at']['score_thr']['recall'] == 0
    assert large['own']['best_f1']['recall'] == 1
    (miss,) = report['missed_faces']
    assert miss['bbox'] == [40, 10, 80, 50]
    assert (miss['height'], miss['score']) == (40, 0.25)
    assert [one['score'] for one in report['false_positives']] == [0.875, 0.75]
    assert [
        (image['image'].rpartition('/')[2], image['missed'], image['false_positives'])
        for image in report['worst_images']
    ] == [('a.png', 1, 1), ('c.png', 0, 1)]
    for name in NAMES:
        assert cv2.imdecode(np.fromfile(out / f'{name}.png', np.uint8), 1).size


@pytest.mark.parametrize('kind', ['lines', 'folder', 'pkl'])
def test_results_without_annotation(run, results, images, ann, tmp_path, kind):
    """Made elsewhere, they give the same report as those that hold it."""
    _, expected = run(results)
    if kind == 'lines':
        found = tmp_path / 'faces.jsonl'
        lines = []
        for name, rows in FOUND.items():
            scores = [row[4] for row in rows]
            record = dict(image=f'/elsewhere/{name}', width=100, height=80)
            record |= dict(bboxes=corners(rows).tolist(), scores=scores)
            lines.append(json.dumps(record))
        found.write_text('\n'.join(lines) + '\n')
    elif kind == 'folder':
        found = tmp_path / 'wider'
        write_results(
            found,
            [
                # As detection names them: by the last folder.
                (f'{(images / name).parent.name}/{name[-5]}', name, np.array(rows))
                for name, rows in FOUND.items()
            ],
        )
    else:
        found = [{k: v for k, v in r.items() if k != 'instances'} for r in results]
        with pytest.raises(SystemExit, match='meta_keys'):
            run(found)
    _, said = run(found, '--ann', ann)
    assert said == expected


def test_how_the_annotation_is_read_may_be_said(run, results, ann):
    """Of corners, and of labels by name, as in the other tools."""
    _, expected = run(results)
    rows = [
        [*map(int, (x, y, x + w, y + h)), 0, 0, 0, i, 0, 0]
        for faces in FACES.values()
        for x, y, w, h, i in faces
    ]
    rows = iter([' '.join(map(str, each)) for each in rows])
    lines = [
        next(rows) if line.count(' ') == 9 and line.split()[2] != '0' else line
        for line in ann.read_text().splitlines()
    ]
    ann.write_text('\n'.join(lines))
    _, said = run(results, '--ann', ann, '--corners')
    assert said == expected


def test_annotation_may_be_a_folder(run, results, images, ann):
    """Whose images are below it, unless they are named."""
    _, expected = run(results[:1], '--ann', ann)
    for name, faces in FACES.items():
        rows = [(x + w / 2, y + h / 2, w, h) for x, y, w, h, _ in faces]
        text = ''.join(
            f'0 {x / 100} {y / 80} {w / 100} {h / 80}\n' for x, y, w, h in rows
        )
        (images / name).with_suffix('.txt').write_text(text)
    ann.unlink()
    _, said = run(results[:1], '--ann', images)
    assert row(said, 'all') == row(expected, 'all')
    assert '2 images without a result' in said


def test_part_of_the_annotated_images(run, results, ann, tmp_path):
    out, said = run(results[:2], '--ann', ann)
    assert '1 images without a result left out, such as' in said and 'c.png' in said
    assert json.loads((out / 'report.json').read_text())['images'] == 2
    results[0]['img_path'] = 'other.png'
    with pytest.raises(SystemExit, match='a result of none of the 3 images'):
        run(results[:1], '--ann', ann)


def test_precision_that_is_not_reached(run, results):
    """Highest scores: a face and a false positive; in all 3 of 5 are faces."""
    results[0]['pred_instances']['scores'][0] = 0.875
    results[1]['pred_instances']['scores'][:] = 0.1
    out, said = run(results, '--precision', '0.9')
    assert 'No threshold reaches a precision of 0.9: the best is 0.6000' in said
    thresholds = json.loads((out / 'report.json').read_text())['thresholds']
    assert sorted(thresholds) == ['best_f1', 'score_thr']


def test_nothing_detected(run, results):
    for result in results:
        found = result['pred_instances']
        result['pred_instances'] = {name: found[name][:0] for name in found}
    _, said = run(results)
    assert 'No face is found' in said and 'No threshold reaches' in said
    assert row(said, 'as given') == ['0.5', '-', '0.0000', '0.0000', '0.0000']


def test_several_classes(run, results):
    """Each by itself, as the metric does; others and NaN are counted."""
    results[0]['instances'][1]['bbox_label'] = 1
    results[0]['pred_instances']['labels'] = torch.tensor([0, 1, 7])
    results[2]['pred_instances']['scores'][:] = torch.nan
    out, said = run(results, '--classes', 'mask', 'no/mask')
    assert '1 detections with NaN' in said and '1 detections of classes without' in said
    aps = {}
    for folder in ('0-mask', '1-no_mask'):
        report = json.loads((out / folder / 'report.json').read_text())
        aps[report['class_name']] = report['by_height']['all']['ap']
        assert (out / folder / 'mistakes.png').is_file()
    assert aps == {'mask': 1.0, 'no/mask': 1.0}
    assert 'class mask' in said and 'class no/mask' in said


def test_mistakes_are_drawn_where_they_are(tool, images):
    """Also at the edge of an image, and wholly outside."""
    box = np.array([60.0, 40, 80, 60])
    faces = tool.ImageFaces(box[None], np.ones(1), np.zeros((0, 4)), np.zeros(0, bool))
    path = str(images / 'a.png')
    crop = tool.draw(path, faces, 0.5, 160, box)
    # From (46, 26) to (94, 74): 160 pixels for 48.
    red = (crop == tool.RED).all(axis=2)
    rows, columns = np.flatnonzero(red.any(1)), np.flatnonzero(red.any(0))
    assert np.abs([rows[0], columns[0]] - np.array([47, 47])).max() <= 1
    assert np.abs([rows[-1], columns[-1]] - np.array([113, 113])).max() <= 1
    for box in ([-9, -9, 9, 9], [90, 70, 1e12, 1e12], [500, 500, 510, 510]):
        crop = tool.draw(path, faces, 0.5, 160, np.array(box, float))
        assert crop.shape == (160, 160, 3)


@pytest.mark.parametrize(
    ('line', 'message'),
    [
        ('{"image": "a.png"', 'faces.jsonl:2: no line of'),
        (
            '{"image": "a.png", "bboxes": [[1, 2, 3, 4]], "scores": []}',
            'expected 0 bboxes',
        ),
        ('{"image": 3, "bboxes": [], "scores": []}', 'faces.jsonl:2'),
        ('[]', 'faces.jsonl:2'),
        ('{"image": "sub/../a.png", "bboxes": [], "scores": []}', 'may be of a.png'),
    ],
)
def test_broken_lines(run, ann, tmp_path, line, message):
    path = tmp_path / 'faces.jsonl'
    path.write_text(f'{{"image": "x/a.png", "bboxes": [], "scores": []}}\n{line}\n')
    with pytest.raises(SystemExit, match=message):
        run(path, '--ann', ann)


@pytest.mark.parametrize('line', ['{"loss": 1', '5', '[]', '{"loss": 1}', '\xff'])
def test_log_of_losses(run, results, tmp_path, line):
    log = tmp_path / 'scalars.json'
    text = '{"loss": 2.5, "loss_cls": 1, "step": 50}\n\n{"acc": 1, "step": 50}\n'
    log.write_text(text)
    run(results, '--log', log)
    log.write_bytes(f'{text}{line}\n'.encode('latin1'))
    with pytest.raises(SystemExit, match='scalars.json:4: no line of a log'):
        run(results, '--log', log)


def test_what_it_cannot_use(run, results, tmp_path, ann):
    with pytest.raises(SystemExit, match='name it with --ann'):
        run(tmp_path)
    for name in ('none.pkl', 'none.jsonl', 'none'):
        with pytest.raises(
            SystemExit, match=f'(?i)no such file.*{name}|{name}.*no such'
        ):
            run(tmp_path / name, '--ann', ann)
    (tmp_path / 'images/a.png').unlink()
    with pytest.raises(SystemExit, match='a.png'):
        run(results)
    assert (tmp_path / 'report/report.json').is_file()  # needs no pictures
    for wrong in (['--precision', '1.5'], ['--num', '0'], ['--classes', 'a', 'a']):
        with pytest.raises(SystemExit) as stop:
            run(results, *wrong)
        assert stop.value.code == 2
