"""What tests of whole training runs share: a data set, a small model, processes."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from mmdet.registry import HOOKS
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.runner import Runner

ROOT = Path(__file__).resolve().parent.parent
# Of the crops that are trained on, pixels. Not 64: PyTorch 2.13 on a CPU with bfloat16
# gives garbage as the gradient of a 3x3 convolution of stride 2 on a 1x1 map, as P6
# would be.
SIZE = 128

# The base config's network with few channels: a ResNet-18, no normalisation in the
# head. 1.2 MB in a checkpoint instead of 430.
SMALL_MODEL = {
    'model.backbone.depth': 18,
    'model.backbone.base_channels': 8,
    'model.backbone.init_cfg': None,
    'model.neck.in_channels': [8, 16, 32, 64],
    'model.neck.out_channels': 16,
    'model.neck.extra_channels': [16, 16],
    'model.bbox_head.in_channels': 16,
    'model.bbox_head.feat_channels': 16,
}


@HOOKS.register_module()
class KillHook(Hook):
    """``kill -9`` of the own process after an iteration; all counted from 0.

    With ``parent`` also of the one that started it.
    """

    def __init__(self, epoch: int, iteration: int, parent: bool = False) -> None:
        self.moment = (epoch, iteration)
        self.parent = parent

    def after_train_iter(self, runner: Runner, batch_idx: int, *args, **kwargs) -> None:
        if (runner.epoch, batch_idx) == self.moment:
            if self.parent:
                os.kill(os.getppid(), signal.SIGKILL)
            os.kill(os.getpid(), signal.SIGKILL)


@HOOKS.register_module()
class LossesHook(Hook):
    """Writes the losses of this process, whichever, into the work folder."""

    priority = 'VERY_HIGH'  # before another process notices that this one is killed

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch=None, outputs=None
    ) -> None:
        row = {name: value.item() for name, value in outputs.items()}
        path = Path(runner.work_dir, f'losses_{runner.rank}.jsonl')
        with path.open('a') as file:
            file.write(json.dumps(dict(row, step=runner.iter + 1)) + '\n')


def write_data_set(
    root: Path, faces: Sequence[int], num_val: int = 2, size: int = 96
) -> Path:
    """Write square images of noise with brighter faces, in WIDER FACE's layout.

    Args:
        root: Folder to create, returned.
        faces: Number of faces of each training image.
        num_val: Number of validation images, with three faces each.
        size: Side of the images in pixels.
    """
    rng = np.random.default_rng(0)
    for split, counts in (('train', faces), ('val', [3] * num_val)):
        rows = []
        folder = root / f'WIDER_{split}' / 'images' / '0--Noise'
        folder.mkdir(parents=True)
        for index, count in enumerate(counts):
            image = rng.integers(0, 128, (size, size, 3), np.uint8)
            rows += [f'0--Noise/{index}.png', str(count)]
            for _ in range(count):
                side = int(rng.integers(16, 48))
                x, y = (int(v) for v in rng.integers(0, size - side, 2))
                image[y : y + side, x : x + side] += 100
                rows.append(f'{x} {y} {side} {side} 0 0 0 0 0 0')
            if not count:
                rows.append('0 0 0 0 0 0 0 0 0 0')
            cv2.imwrite(str(folder / f'{index}.png'), image)
        annotation = root / 'wider_face_split' / f'wider_face_{split}_bbx_gt.txt'
        annotation.parent.mkdir(exist_ok=True)
        annotation.write_text('\n'.join(rows) + '\n')
    return root


def small_config(name: str, data_root: Path, work_dir: Path, **options: Any) -> Config:
    """Load a config that inherits the paper's, made small.

    Batches of 2 in this process, each iteration in the log.

    Args:
        name: Its name, without '.py'.
        data_root: The data set.
        work_dir: Folder of the run; also names its logger, which mmengine keeps.
        **options: Other settings, with '__' for the dots in their names.
    """
    whole = Config.fromfile(ROOT / 'configs' / f'{name}.py').to_dict()
    # Formatting it, which is done with every checkpoint, takes longer than an epoch.
    cfg = Config(whole, format_python_code=False)
    loaders = ('train_dataloader', 'val_dataloader', 'test_dataloader')
    for loader in loaders:
        cfg[loader].update(num_workers=0, persistent_workers=False)
        cfg[loader].dataset.data_root = f'{data_root}/'
    for step in cfg.train_dataloader.dataset.pipeline:
        for key, value in step.items():
            if value == (1024, 1024):
                step[key] = (SIZE, SIZE)
    cfg.merge_from_dict(
        {
            **SMALL_MODEL,
            'work_dir': str(work_dir),
            'experiment_name': str(work_dir),
            'visualizer.name': str(work_dir),
            'train_dataloader.batch_size': 2,
            'train_cfg.max_epochs': 1,
            'train_cfg.val_interval': 1,
            'default_hooks.logger.interval': 1,
            'log_processor.window_size': 1,
            **{key.replace('__', '.'): value for key, value in options.items()},
        }
    )
    return cfg


def run_train(
    cfg: Config, *arguments: str, limit: int | None = None
) -> subprocess.CompletedProcess[str]:
    """Run tools/train.py in its own process; ``stdout`` has all that was printed.

    Args:
        cfg: The config, written beside its work folder.
        *arguments: Arguments of the script.
        limit: Largest size in bytes of a file that the process writes.
    """

    def limit_files() -> None:
        import resource

        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    path = Path(f'{cfg.work_dir}.py')
    cfg.dump(path)
    # A file, no pipe: worker processes outlive one that is killed by some seconds.
    out = path.with_suffix('.out')
    with out.open('w') as file:
        result = subprocess.run(
            [sys.executable, ROOT / 'tools' / 'train.py', path, *arguments],
            env={**os.environ, 'PYTHONPATH': str(ROOT), 'OMP_NUM_THREADS': '1'},
            preexec_fn=limit_files if limit else None,
            stdout=file,
            stderr=subprocess.STDOUT,
            timeout=300,
        )
    return subprocess.CompletedProcess(result.args, result.returncode, out.read_text())


def logged(work_dir: Path) -> list[dict[str, Any]]:
    """Return all rows logged in a work folder, oldest run first."""
    paths = sorted(work_dir.glob('*/vis_data/scalars.json'))
    return [json.loads(row) for path in paths for row in path.read_text().splitlines()]


def losses(work_dir: Path) -> dict[int, dict[str, float]]:
    """Return the losses of each iteration, the last ones if it was run twice."""
    rows = [row for row in logged(work_dir) if 'loss' in row]
    return {
        row['step']: {name: row[name] for name in row if name[:4] in ('loss', 'num_')}
        for row in rows
    }
