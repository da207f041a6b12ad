"""Time the training pipeline step by step against the naive order of stock steps.

By default on photographs made of scikit-image's, as wide as WIDER FACE's; with
--data-root on a data set in WIDER FACE's layout. Both run on one core, interleaved, and
the fastest of all rounds counts for each step and image.
"""

import argparse
import importlib.util
import os
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np
import torch
from mmcv.transforms import Compose
from mmdet.registry import DATASETS, TRANSFORMS
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.registry import init_default_scope
from tabulate import tabulate
from torch.utils.data import DataLoader, Dataset

import mmdet_srn  # noqa: F401
from mmdet_srn.benchmark.arguments import whole
from mmdet_srn.detector.images import read_image

CONFIGS = Path(__file__).resolve().parents[2] / 'configs'
#: Pictures of scikit-image's data folder that are photographs in colour.
PHOTOGRAPHS = (
    *('astronaut.png', 'chelsea.png', 'coffee.png', 'hubble_deep_field.jpg'),
    *('motorcycle_left.png', 'rocket.jpg'),
)
WIDTH, HEIGHTS = 1024, (576, 683, 768, 1536)  # pixels
GOAL = 2.0


def naive_pipeline(size: int) -> list[dict]:
    """List the paper's augmentation in its own order, stock steps but for the crop."""
    return [
        dict(type='LoadImageFromFile'),
        dict(type='LoadAnnotations', with_bbox=True),
        dict(type='PhotoMetricDistortion'),
        dict(type='Expand', mean=(0, 0, 0), ratio_range=(1, 2), prob=0.5),
        dict(type='RandomSquareCrop'),
        dict(type='RandomFlip', prob=0.5),
        dict(type='Resize', scale=(size, size), keep_ratio=False),
        dict(type='PackDetInputs'),
    ]


def make_photographs(folder: Path, count: int) -> list[dict]:
    """Write photographs with faces; return what a data set tells about each."""
    spec = importlib.util.find_spec('skimage')
    if spec is None or spec.origin is None:
        raise SystemExit('pip install scikit-image, or name a data set: --data-root')
    rng = np.random.default_rng(0)
    infos = []
    for index in range(count):
        source = Path(spec.origin).parent / 'data' / PHOTOGRAPHS[index % 6]
        image = read_image(source)
        height = HEIGHTS[index % 4 if index % 12 == 3 else index % 3]
        image = cv2.resize(image, (WIDTH, height), interpolation=cv2.INTER_CUBIC)
        # Enlarged pictures lack the detail that decoding spends its time on.
        image = (image + rng.normal(0, 5, image.shape)).clip(0, 255).astype(np.uint8)
        path = folder / f'{index}.jpg'
        quality = [cv2.IMWRITE_JPEG_QUALITY, 80]
        path.write_bytes(cv2.imencode('.jpg', image, quality)[1].tobytes())
        sizes = np.exp(rng.uniform(np.log(8), np.log(200), 12))[:, None]
        corners = rng.uniform(0, 1, (12, 2)) * (np.array([WIDTH, height]) - sizes)
        boxes = np.hstack([corners, corners + sizes]).round().tolist()
        faces = [dict(bbox=box, bbox_label=0, ignore_flag=0) for box in boxes]
        infos.append(dict(img_id=str(index), img_path=str(path), instances=faces))
    return infos


def read_data_set(root: str, split: str, count: int) -> list[dict]:
    """Read what a data set tells about some of its images, evenly spread."""
    dataset = DATASETS.build(
        dict(
            type='WIDERFaceTxtDataset',
            data_root=root,
            ann_file=f'wider_face_split/wider_face_{split}_bbx_gt.txt',
            data_prefix=dict(img=f'WIDER_{split}/images'),
        )
    )
    chosen = np.linspace(0, len(dataset) - 1, min(count, len(dataset)))
    return [dataset.get_data_info(int(index)) for index in chosen]


def time_steps(
    pipelines: dict[str, list], infos: list[dict], rounds: int
) -> dict[str, np.ndarray]:
    """Time each step of each pipeline: CPU milliseconds per image.

    Each image is augmented ``rounds`` times in the same way.
    """
    times = {
        name: np.full((rounds, len(infos), len(steps)), np.inf)
        for name, steps in pipelines.items()
    }
    for turn in range(rounds):
        for index, info in enumerate(infos):
            for name, steps in pipelines.items():
                np.random.seed(index)
                results = dict(info)
                for number, step in enumerate(steps):
                    start = time.process_time()
                    results = step(results)
                    times[name][turn, index, number] = time.process_time() - start
    return {name: 1e3 * all_.min(axis=0).mean(axis=0) for name, all_ in times.items()}


class Repeated(Dataset):
    """Images through a pipeline, several times."""

    def __init__(self, steps: list, infos: list[dict], times: int) -> None:
        self.pipeline = Compose(steps)
        self.infos = infos * times

    def __len__(self) -> int:
        return len(self.infos)

    def __getitem__(self, index: int) -> dict:
        np.random.seed(index)
        return self.pipeline(dict(self.infos[index]))


def time_loader(steps: list, infos: list[dict], rounds: int) -> float:
    """Time a pipeline in a worker process, with the transfer to the main process.

    Returns:
        CPU milliseconds per image, of both processes together.
    """
    dataset = Repeated(steps, infos, rounds)
    start = sum(os.times()[:4])
    loader = DataLoader(dataset, batch_size=4, num_workers=1, collate_fn=pseudo_collate)
    for _ in loader:
        pass
    del loader  # its worker ends, and is counted
    return 1e3 * (sum(os.times()[:4]) - start) / len(dataset)


def main(argv: list[str] | None = None) -> int:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add('--data-root', help='a data set in the layout of WIDER FACE')
    add('--split', choices=('train', 'val'), default='val')
    add('--images', type=whole(1), default=12, help='at most (default %(default)s)')
    data = str(CONFIGS / '_base_' / 'datasets' / 'widerface.py')
    text = "whose train_pipeline is timed (default: WIDER FACE's)"
    add('--config', default=data, help=text)
    add('--size', type=whole(1), default=1024, help='(default %(default)s)')
    add('--rounds', type=whole(1), default=8, help='(default %(default)s)')
    add('--loader', action='store_true', help='time a DataLoader with a worker, too')
    args = parser.parse_args(argv)
    torch.set_num_threads(1)
    cv2.setNumThreads(0)
    init_default_scope('mmdet')
    config = Config.fromfile(args.config).train_pipeline
    for step in config:
        if step.type in ('LoadSquareCrop', 'LoadDataAnchorCrop'):
            step.size = args.size
    with tempfile.TemporaryDirectory() as folder:
        if args.data_root:
            infos = read_data_set(args.data_root, args.split, args.images)
        else:
            infos = make_photographs(Path(folder), args.images)
        orders = {
            'naive order, stock steps': naive_pipeline(args.size),
            'this config': config,
        }
        pipelines = {
            name: [TRANSFORMS.build(step) for step in steps]
            for name, steps in orders.items()
        }
        size = sum(Path(info['img_path']).stat().st_size for info in infos)
        print(f'{len(infos)} photographs of {size / len(infos) / 1e3:.0f} kB each')
        times = time_steps(pipelines, infos, args.rounds)
        for name, steps in pipelines.items():
            total = times[name].sum()
            names = [type(step).__name__ for step in steps]
            rows = [*zip(names, times[name].tolist(), strict=True), ('all', total)]
            print('\n' + tabulate(rows, (name, 'ms'), 'simple', floatfmt='.2f'))
            print(f'{1e3 / total:.0f} images per second and core')
        naive, ours = (one.sum() for one in times.values())
        print(f'\n{naive / ours:.2f} times as many images a second (goal {GOAL})')
        if args.loader:
            naive, ours = (
                time_loader(steps, infos, args.rounds) for steps in pipelines.values()
            )
            print(
                f'with the transfer from a worker: {naive:.1f} and {ours:.1f} ms, '
                f'{naive / ours:.2f} times'
            )
    return 0


if __name__ == '__main__':
    raise SystemExit(main())
