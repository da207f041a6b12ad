"""What each process of test_distributed.py computes when its training has ended."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import torch
from mmdet.registry import HOOKS, MODELS
from mmdet.structures import DetDataSample
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.logging import MMLogger
from mmengine.model import MMDistributedDataParallel
from mmengine.optim import OptimWrapper
from mmengine.runner import Runner
from mmengine.structures import InstanceData

import mmdet_srn  # noqa: F401
from tests.training import ROOT, SMALL_MODEL

PROCESSES = 2
SIZE = 64  # of the images, pixels


class Case(NamedTuple):
    """A model, and how many faces are on each image of each iteration."""

    faces: list[list[int]]
    options: dict[str, Any] = {}


def placed(stc: tuple[int, ...], str_: tuple[int, ...]) -> dict[str, Any]:
    return {
        'model.neck.first_levels': stc + str_,
        'model.bbox_head.stc_levels': stc,
        'model.bbox_head.str_levels': str_,
    }


# The first half of an iteration's images goes to the first process.
CASES = {
    'none in the second process': Case([[4, 3, 0, 0]]),
    'none at all': Case([[0, 0, 0, 0]]),
    'accumulated': Case([[5, 0, 1, 2], [0, 0, 3, 1], [1, 1, 1, 1]]),
    'checkpointing': Case([[5, 2, 1, 0]], {'model.backbone.with_cp': True}),
    'queries': Case([[5, 2, 1, 0]], {'model.bbox_head.type': 'QuerySRNHead'}),
    'one step': Case([[5, 2, 1, 0]], placed((), ())),
    'successors': Case(
        [[5, 0, 1, 2]],
        {
            'model.bbox_head.type': 'SRNIoUHead',
            'model.train_cfg.assigner.type': 'HAMBoxAssigner',
            'model.train_cfg.assigner.pred_iou_thr': 0.3,
        },
    ),
}


def build(options: dict[str, Any]) -> torch.nn.Module:
    cfg = Config.fromfile(ROOT / 'configs/srn_r50_fpn_widerface.py')
    # BN of its own statistics would differ between 2 and 4 images.
    cfg.merge_from_dict({**SMALL_MODEL, 'model.backbone.norm_eval': True, **options})
    model = MODELS.build(dict(cfg.model, _scope_='mmdet'))
    torch.manual_seed(0)
    model.init_weights()
    # Far from thresholds that the last bit of a score would decide at: all 0.01.
    for name in ('conv_cls_first', 'conv_cls', 'conv_reg'):
        if hasattr(model.bbox_head, name):
            torch.nn.init.normal_(getattr(model.bbox_head, name).weight, std=0.1)
    return model.train()


def batch(faces: list[int], first: int) -> dict[str, Any]:
    """Images ``first``, ``first + 1`` ... with so many faces each."""
    inputs, samples = [], []
    for index, count in enumerate(faces, first):
        rng = torch.Generator().manual_seed(index)
        inputs.append(torch.randint(0, 256, (3, SIZE, SIZE), generator=rng))
        corner = torch.rand((count, 2), generator=rng) * 40
        side = 8 + torch.rand((count, 1), generator=rng) * 16
        faces_ = InstanceData(
            bboxes=torch.cat((corner, corner + side * torch.tensor([1.0, 1.25])), 1),
            labels=torch.zeros(count, dtype=torch.long),
        )
        meta = dict(img_shape=(SIZE, SIZE), scale_factor=(1.0, 1.0))
        samples.append(DetDataSample(gt_instances=faces_, metainfo=meta))
    return dict(inputs=inputs, data_samples=samples)


def run(case: Case, rank: int | None) -> dict[str, Any]:
    """Losses and gradients of one step.

    Args:
        case: What to compute.
        rank: The process, whose share of the images it is; None: all of them, in one
            process.

    Returns:
        Losses of each iteration, and the gradients with which the step was made.
    """
    model = build(case.options)
    named = {n: p for n, p in model.named_parameters() if p.requires_grad}
    # With momentum and no rate, the state after a step is its gradient.
    optimizer = torch.optim.SGD(named.values(), lr=0.0, momentum=0.9)
    wrapper = OptimWrapper(optimizer, accumulative_counts=len(case.faces))
    if rank is not None:  # as mmengine wraps it
        model = MMDistributedDataParallel(
            module=model, broadcast_buffers=False, find_unused_parameters=False
        )
    losses = []
    for iteration, faces in enumerate(case.faces):
        share = slice(None)
        if rank is not None:
            size = len(faces) // PROCESSES
            share = slice(rank * size, (rank + 1) * size)
        first = 10 * iteration + (share.start or 0)
        logged = model.train_step(batch(faces[share], first), wrapper)
        losses.append({name: value.item() for name, value in logged.items()})
    gradients = {n: optimizer.state[p]['momentum_buffer'] for n, p in named.items()}
    return dict(losses=losses, gradients=gradients)


def stop_at_nan(rank: int) -> str:
    """What a process says where only the second one's loss is NaN."""
    hook = HOOKS.build(dict(type='InvalidLossHook'))
    runner = SimpleNamespace(
        rank=rank,
        epoch=0,
        iter=4,
        max_iters=9,
        work_dir='nowhere',
        logger=SimpleNamespace(error=print),
        optim_wrapper=SimpleNamespace(get_lr=lambda: dict(lr=[0.1])),
    )
    sample = DetDataSample(metainfo=dict(img_path=f'image_of_process_{rank}.jpg'))
    for loss in (1.0, float('nan') if rank == 1 else 1.0):
        try:
            hook.after_train_iter(
                runner,
                4,
                dict(data_samples=[sample]),
                dict(loss=torch.tensor(loss, requires_grad=True)),
            )
        except FloatingPointError as error:
            return str(error)
    return 'no error'


def other_checkpoints(rank: int, folder: Path) -> dict[str, str]:
    """What a process says of checkpoints that another node may not have."""
    hook = HOOKS.build(dict(type='CheckpointFitHook'))
    own = folder / f'node_{rank}'
    own.mkdir()
    for name, content in (('same', 'same'), ('other', str(rank))):
        (own / name).write_text(content)
    if rank == 0:
        (own / 'last_checkpoint').write_text(str(own / 'same'))
    said = {}
    for name in ('same', 'other', None, 'http://host/file'):
        path = str(own / name) if name and '/' not in name else name
        runner = SimpleNamespace(
            model=torch.nn.Identity(),
            work_dir=str(own),
            _load_from=path,
            _resume=path is None,
            _has_loaded=False,
            _train_loop=None,
        )
        try:
            hook.before_run(runner)
            said[name] = 'no error'
        except ValueError as error:
            said[name] = str(error)
    return said


@HOOKS.register_module()
class CasesHook(Hook):
    """Writes what its process computes into the work folder."""

    def after_train(self, runner: Runner) -> None:
        MMLogger.get_instance('ddp', log_level='ERROR')  # not how each layer began
        rank, folder = runner.rank, Path(runner.work_dir)
        found = {name: run(case, rank) for name, case in CASES.items()}
        found['nan'] = stop_at_nan(rank)
        found['checkpoints'] = other_checkpoints(rank, folder)
        torch.save(found, folder / f'found_{rank}.pth')
