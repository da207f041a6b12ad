"""mmdet's analyses, of a log and of a test's results."""

import json
import pickle
import runpy
import sys
from pathlib import Path

import mmdet.datasets
import numpy as np
import pytest
import torch
from matplotlib import pyplot as plt

from tests.tool_loader import find_tool
from tests.training import small_config, write_data_set


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch):
    def run_tool(name: str, *arguments: str | Path) -> None:
        monkeypatch.setattr(sys, 'argv', [name, *map(str, arguments)])
        runpy.run_path(str(find_tool(name)), run_name='__main__')

    return run_tool


def test_ap_over_epochs(run, tmp_path, monkeypatch):
    """Validated every second epoch of three iterations."""
    log = tmp_path / 'scalars.json'
    rows = []
    for step in range(12):
        epoch = step // 3 + 1
        rows.append(
            dict(loss=1 / (step + 1), epoch=epoch, iter=step + 1, step=step + 1)
        )
        if step % 6 == 5:
            rows.append({'widerface/AP': epoch / 10, 'time': 1.0, 'step': epoch})
    log.write_text('\n'.join(map(json.dumps, rows)))
    drawn = {}

    def plot(x, y, label, **style):
        drawn[label] = [*x], [*y]
        return original(x, y, label=label, **style)

    original = plt.plot
    monkeypatch.setattr(plt, 'plot', plot)
    keys = (
        '--keys',
        'widerface/AP',
        'loss',
        '--out',
        tmp_path / 'ap.png',
        '--backend',
        'agg',
    )
    run('analyze_logs', 'plot_curve', log, *keys)
    assert drawn[f'{log}_widerface/AP'] == ([2, 4], [0.2, 0.4])
    assert drawn[f'{log}_loss'][0] == [*range(1, 13)]
    assert (tmp_path / 'ap.png').stat().st_size


def test_best_and_worst_images(run, tmp_path, monkeypatch):
    """Of a config that is trained on LoadSquareCrop."""
    own = mmdet.datasets.get_loading_pipeline
    monkeypatch.setattr(mmdet.datasets, 'get_loading_pipeline', own)  # put back later
    data = write_data_set(tmp_path / 'noise', [1])
    cfg = small_config('srn_r50_fpn_widerface', data, tmp_path / 'run')
    assert any(
        s.type == 'LoadSquareCrop' for s in cfg.train_dataloader.dataset.pipeline
    )
    cfg.dump(tmp_path / 'config.py')
    rows = (data / 'wider_face_split/wider_face_val_bbx_gt.txt').read_text().split('\n')
    faces = np.array([row.split()[:4] for row in rows[2:5]], np.float32)
    faces[:, 2:] += faces[:, :2]
    found = [torch.from_numpy(faces), torch.zeros(3, 4)]  # all of the first, none
    results = [
        dict(
            pred_instances=dict(
                bboxes=boxes, scores=torch.ones(3), labels=torch.zeros(3, dtype=int)
            )
        )
        for boxes in found
    ]
    (tmp_path / 'results.pkl').write_bytes(pickle.dumps(results))
    arguments = (tmp_path / 'config.py', tmp_path / 'results.pkl', tmp_path / 'shown')
    run('analyze_results', *arguments)
    shown = {path.parent.name: path.name for path in tmp_path.glob('shown/*/*.png')}
    assert shown == {'good': '0_1.0.png', 'bad': '1_0.0.png'}
