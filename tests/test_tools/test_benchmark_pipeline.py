import cv2
import pytest
import torch

from tests.reference.naive_pipeline import photograph, write
from tests.tool_loader import load_tool


@pytest.fixture
def tool():
    module = load_tool('benchmark_pipeline')
    threads = torch.get_num_threads(), cv2.getNumThreads()
    yield module
    torch.set_num_threads(threads[0])
    cv2.setNumThreads(threads[1])


def _steps(text):
    words = [line.split()[:1] for line in text.splitlines()]
    return [word for (word,) in filter(None, words) if word in ORDERS]


ORDERS = [
    *('LoadImageFromFile', 'LoadAnnotations', 'PhotoMetricDistortion', 'Expand'),
    *('RandomSquareCrop', 'RandomFlip', 'Resize', 'PackDetInputs', 'all'),
    *('LoadAnnotations', 'LoadSquareCrop', 'PhotoMetricDistortion', 'RandomFlip'),
    *('PlaceInSquare', 'PackDetInputs', 'all'),
]


def test_on_photographs(tool, capsys):
    pytest.importorskip('skimage')
    assert tool.main(['--images=2', '--rounds=1', '--size=32', '--loader']) == 0
    printed = capsys.readouterr().out
    assert '2 photographs of' in printed
    assert _steps(printed) == ORDERS
    assert 'times as many images a second (goal 2.0)' in printed
    assert 'with the transfer from a worker:' in printed


def test_on_a_data_set(tool, tmp_path, capsys):
    folder = tmp_path / 'WIDER_val/images/0--A'
    folder.mkdir(parents=True)
    lines = []
    for index in range(3):
        write(folder / f'{index}.jpg', photograph(60, 90, index))
        lines += [f'0--A/{index}.jpg', '1', '20 10 30 40 0 0 0 0 0 0']
    (tmp_path / 'wider_face_split').mkdir()
    annotation = tmp_path / 'wider_face_split/wider_face_val_bbx_gt.txt'
    annotation.write_text('\n'.join(lines))
    infos = tool.read_data_set(str(tmp_path), 'val', 2)
    assert [info['img_id'] for info in infos] == ['0--A/0', '0--A/2']
    options = [f'--data-root={tmp_path}', '--size=32', '--rounds=1']
    assert tool.main(options) == 0
    assert _steps(capsys.readouterr().out) == ORDERS


def test_the_fastest_round_counts(tool, monkeypatch):
    clock = iter([0, 5, 10, 12, 20, 21, 30, 36])  # 5, 2; 1, 6
    monkeypatch.setattr(tool.time, 'process_time', lambda: next(clock))
    times = tool.time_steps({'a': [dict, dict]}, [{}], rounds=2)
    assert times['a'].tolist() == [1000, 2000]


def test_bad_numbers(tool, capsys):
    with pytest.raises(SystemExit):
        tool.main(['--rounds=0'])
    assert '0 is less than 1' in capsys.readouterr().err
