"""Stop a run whose loss is not finite, and save no such weights."""

from collections.abc import Mapping
from typing import Any

from mmdet.registry import HOOKS
from mmengine.dist import all_gather_object, all_reduce, is_main_process
from mmengine.hooks import Hook
from mmengine.runner import Runner, find_latest_checkpoint
from torch import Tensor

_ADVICE = (
    'What to try: a smaller learning rate (--auto-scale-lr, or '
    'optim_wrapper.optimizer.lr), a warm-up, clipped gradients '
    '(optim_wrapper.clip_grad.max_norm=10); in float16, bfloat16 instead '
    '(optim_wrapper.type=BFloat16OptimWrapper), which overflows as late as float32; '
    'and a look at the images named, and at their boxes'
)


@HOOKS.register_module()
class InvalidLossHook(Hook):
    """Stop training at once when the loss is NaN or infinite.

    By then the step has spoilt the weights for good. mmdet's ``CheckInvalidLossHook``
    looks at every 50th iteration, so that a checkpoint may be written in between; this
    one looks at each, at no cost: mmengine reads every loss for the log anyway.
    Distributed processes share what they find and all stop. A step that float16's
    gradient scaler skips is fine, as its loss is finite.

    Weights are also checked before a checkpoint is written, as the epoch's last step
    may have spoilt them without a loss to show it; the writing process does this, and
    the launcher ends the others.

    Raises:
        FloatingPointError: In training. Names epoch, iteration, losses, learning rate,
            the images of the batch and the last checkpoint.
    """

    priority = 'LOW'  # after EMAHook, whose weights are saved, too

    def after_train_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: Any = None,
        outputs: Mapping[str, Tensor] | None = None,
    ) -> None:
        """Check the sum of the losses, which any invalid one spoils."""
        if outputs is None:
            return
        invalid = ~outputs['loss'].detach().isfinite().reshape(1)
        anywhere = invalid.int()
        all_reduce(anywhere, 'max')
        if not anywhere.item():
            return
        own = _describe(runner.rank, data_batch, outputs) if invalid.item() else None
        found = [text for text in all_gather_object(own) if text]
        where = f'epoch {runner.epoch + 1}, iteration {runner.iter + 1}'
        where = f'{where} of {runner.max_iters}'
        lr = next(iter(runner.optim_wrapper.get_lr().values()))[0]
        _stop(runner, f'the loss is not finite in {where} (lr {lr:g})', found)

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Check the weights, including an exponential moving average."""
        found = [
            f'{key}: {name}'
            for key in ('state_dict', 'ema_state_dict')
            for name, value in checkpoint.get(key, {}).items()
            if value.is_floating_point() and not value.isfinite().all()
        ]
        if found:
            more = [f'and {len(found) - 5} more'] * (len(found) > 5)
            meta = checkpoint['meta']
            what = f'{len(found)} weights are not finite after '
            what += f'epoch {meta["epoch"]}, iteration {meta["iter"]}'
            _stop(runner, what, found[:5] + more)


def _describe(rank: int, data_batch: Any, outputs: Mapping[str, Tensor]) -> str:
    """Describe the losses and images of one process."""
    values = ', '.join(f'{name} {value.item():g}' for name, value in outputs.items())
    samples = data_batch.get('data_samples', ()) if isinstance(data_batch, dict) else ()
    images = [sample.metainfo.get('img_path', '?') for sample in samples]
    return f'process {rank}: {values}; images: {", ".join(images) or "unknown"}'


def _stop(runner: Runner, what: str, details: list[str]) -> None:
    last = find_latest_checkpoint(runner.work_dir) or 'none was written yet'
    last = f'The last checkpoint, from before: {last}'
    message = '\n  '.join([f'training stops: {what}', *details, last, _ADVICE])
    if is_main_process():
        runner.logger.error(message)  # into the log file, too
    raise FloatingPointError(message)
