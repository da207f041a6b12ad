"""Validation and test without the cost of batch norms."""

from mmdet.registry import HOOKS
from mmengine.hooks import Hook
from mmengine.runner import Runner
from torch import nn

from ...models.cpu.fold_norms import fold_norms, modules_with_backbone


@HOOKS.register_module()
class FoldNormsHook(Hook):
    """Fold the backbone's batch norms into its convolutions during validation and test.

    Feature maps differ by rounding only. Weights, checkpoints and training are
    untouched: meanwhile the backbone's ``forward`` is that of a folded copy. A backbone
    with nothing to fold, or with its own ``forward``, is left alone; see
    :func:`.fold_norms`.
    """

    priority = 'VERY_LOW'  # after EMAHook has put in the averaged weights

    def __init__(self) -> None:
        self._backbones: list[nn.Module] = []

    def _before_epoch(self, runner: Runner, mode: str = 'train') -> None:
        """Fold before an epoch of validation or test."""
        self._restore()
        if mode == 'train':
            return
        for detector in modules_with_backbone(runner.model):
            backbone = detector.backbone
            if 'forward' in vars(backbone):
                continue
            folded = fold_norms(backbone)
            if folded is not backbone:
                backbone.forward = folded.forward
                self._backbones.append(backbone)

    def _after_epoch(self, runner: Runner, mode: str = 'train') -> None:
        """Restore the backbone's own forward."""
        self._restore()

    def before_train(self, runner: Runner) -> None:
        """Restore it after an aborted test, which no hook reports."""
        self._restore()

    def _restore(self) -> None:
        while self._backbones:
            del self._backbones.pop().forward
