"""compare_detectors.py: the table, of a made model and of the peers' real files."""

import os

import cv2
import numpy as np
import pytest
import torch

from mmdet_srn.datasets.wider_face_txt_reader import read_wider_face_txt
from tests.test_benchmark.small_detector import write_config
from tests.test_detector.constant_onnx import GRAPH, write_onnx
from tests.tool_loader import load_tool

FACE = '10 20 30 40 0 0 0 {invalid} 0 0'
# It finds a face there in every image.
FINDS_IT = GRAPH.replace('{0, 0, 1, 1}', '{10, 20, 40, 60}')


@pytest.fixture(scope='module')
def tool():
    return load_tool('compare_detectors')


@pytest.fixture(autouse=True)
def same_threads():
    before = torch.get_num_threads(), cv2.getNumThreads()
    yield
    torch.set_num_threads(before[0])
    cv2.setNumThreads(before[1])


@pytest.fixture
def made(tmp_path):
    """A model that finds the same in all images."""
    pytest.importorskip('onnx')
    pytest.importorskip('onnxruntime')
    return ['--model', f'made={write_onnx(tmp_path / "made.onnx", FINDS_IT)}']


@pytest.fixture
def data(tmp_path):
    """Two images of a face each; the second one is to be ignored."""
    for invalid in (0, 1):
        image = np.full((60, 80, 3), 90, np.uint8)
        (tmp_path / f'{invalid}.png').write_bytes(cv2.imencode('.png', image)[1])
    ann = tmp_path / 'two_bbx_gt.txt'
    rows = [f'{i}.png\n1\n{FACE.format(invalid=i)}\n' for i in (0, 1)]
    ann.write_text(''.join(rows))
    return ['--ann', str(ann), '--images', str(tmp_path)]


def run(tool, capsys, *arguments):
    """Run the tool; return what it says before the table, and the table's rows."""
    assert tool.main([*map(str, arguments)]) == 0
    said, _, table = capsys.readouterr().out.partition('\n\n')
    rows = [
        [cell.strip() for cell in line.strip('|').split('|')]
        for line in table.splitlines()
    ]
    assert len({len(row) for row in rows}) == 1
    return said, [*rows[:1], *rows[2:]]


def test_table(tool, data, made, capsys):
    arguments = [*data, *made, '--threads', '1', '--size', '64x48']
    said, (head, faces, row) = run(tool, capsys, *arguments)
    assert 'OpenCV' in said and '64x48' in said and 'images as they are' in said
    assert '--model made=' in said
    assert head == [
        *('detector', 'AP', '<16', '16-32', '32-96', '>=96', 'ms, 1 thread')
    ]
    assert faces == ['two: 2 images, faces', '1', '0', '0', '1', '0', '']
    assert row[:-1] == ['made', '1.000', '-', '-', '1.000', '-']
    assert 0 < float(row[-1]) < 1000


def test_plot_and_time_without_weights(tool, data, made, tmp_path, capsys):
    """A detector without weights is timed, but is neither evaluated nor a point."""
    small = write_config(tmp_path)
    plot = tmp_path / 'plot.png'
    arguments = ['--threads', '1', '--size', '64x48', '--runs=1', '--plot', plot]
    arguments += ['--untrained', f'small={small}']
    _, (_, _, ours, last) = run(tool, capsys, *data, *made, *arguments)
    assert ours[0] == 'made' and last[:-1] == ['small', *'-----']
    assert float(last[-1]) > float(ours[-1])
    height, width, _ = cv2.imdecode(np.fromfile(plot, np.uint8), 1).shape
    assert height > 200 and width > 300


def test_shrunk_images_and_several_sets(tool, data, made, capsys):
    """Boxes are of the image as given: in one of half the size it finds another."""
    arguments = [*data, *data, *made, '--max-size=40', '--threads']
    said, (head, *rows) = run(tool, capsys, *arguments)
    assert 'at most 40 pixels long' in said and 'ms' not in said
    assert [row[:2] for row in rows] == [
        *(['two: 2 images, faces', '1'], ['made', '0.000']) * 2
    ]


def test_threads(tool):
    """OpenCV and torch compute with them; who loads a file sees as many CPUs."""
    cpus = len(os.sched_getaffinity(0))
    for threads in {1, min(2, cpus)}:
        seen = []

        def load(seen=seen):
            seen.append(len(os.sched_getaffinity(0)))
            return dict(
                it=lambda image: seen.append(
                    (torch.get_num_threads(), cv2.getNumThreads())
                )
            )

        image = np.zeros((8, 8, 3), np.uint8)
        assert tool.time_detectors(load, [image], threads, 1).keys() == {'it'}
        assert seen == [threads, *[(threads, threads)] * 2]
        assert len(os.sched_getaffinity(0)) == cpus


@pytest.mark.parametrize('option', ['--yunet', '--centerface'])
def test_missing_peer(tool, data, made, option, capsys):
    assert tool.main([*data, *made, option, 'none.onnx']) == 1
    error = capsys.readouterr().err
    assert 'no file none.onnx' in error and 'https://github.com/' in error


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (['--images', 'more'], 'come in pairs'),
        (['--model', 'a', '--model', 'a=b.onnx'], 'a name of its own'),
        (['--model', 'YuNet=b.onnx'], 'a name of its own'),
        (['--model', '=b.onnx'], 'is neither NAME='),
        (['--model', 'a=b,'], 'is neither NAME='),
        (['--threads', '1000000'], 'may use'),
        (['--untrained', 'config.py'], 'is not NAME='),
        (['--untrained', 'SRN=config.py'], 'a name of its own'),
        (['--plot', 'a.png', '--threads'], 'need --threads'),
    ],
)
def test_wrong_arguments(tool, data, arguments, message, capsys):
    with pytest.raises(SystemExit):
        tool.main([*data, *arguments])
    assert message in capsys.readouterr().err


def test_peers_find_faces(tool, made, shared_data, tmp_path, capsys):
    """On three group photographs, grey and grainy, each finds nearly all."""
    peers = shared_data / 'peers'
    folder = shared_data / 'faces/cmu_mit'
    if not peers.is_dir() or not folder.is_dir():
        pytest.skip(f'needs {peers} and {folder}')
    lines = []
    for image in read_wider_face_txt(folder / 'cmu_mit_bbx_gt.txt')[:3]:
        lines += [image.path, str(len(image.faces))]
        lines += [' '.join(map(str, face)) for face in image.faces.tolist()]
    ann = tmp_path / 'three.txt'
    ann.write_text('\n'.join(lines))
    arguments = ['--ann', ann, '--images', folder / 'images', *made, '--threads', '1']
    arguments += ['--yunet', peers / 'yunet_n_640_640.onnx', '--timed=1', '--runs=1']
    arguments += ['--centerface', peers / 'centerface.onnx', '--size=320x240']
    _, (_, faces, *rows) = run(tool, capsys, *arguments)
    assert faces[0] == 'three: 3 images, faces' and int(faces[1]) > 30
    found = {name: float(ap) for name, ap, *_ in rows}
    assert found['made'] < 0.1
    assert min(found['YuNet'], found['CenterFace']) > 0.9
