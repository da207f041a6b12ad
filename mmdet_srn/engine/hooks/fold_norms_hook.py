"""Validation and test without the time that batch norms take."""

from mmdet.registry import HOOKS
from mmengine.hooks import Hook
from mmengine.runner import Runner
from torch import nn

from ...models.cpu.fold_norms import fold_norms, modules_with_backbone


@HOOKS.register_module()
class FoldNormsHook(Hook):
    """Fold the backbone's batch norms into its convolutions, while it is tested.

    The maps differ by rounding alone. Weights, checkpoints and training are not
    touched: in the meantime the backbone's ``forward`` is that of a folded copy. A
    backbone that has nothing to fold, or a ``forward`` of its own already, is left
    alone; see :func:`.fold_norms`.
    """

    priority = 'VERY_LOW'  # behind EMAHook, which puts the averaged weights in first

    def __init__(self) -> None:
        self._backbones: list[nn.Module] = []

    def _before_epoch(self, runner: Runner, mode: str = 'train') -> None:
        """Fold before an epoch of validation or test."""
        if mode != 'train':
            self._fold(runner)

    def _after_epoch(self, runner: Runner, mode: str = 'train') -> None:
        """Bring the backbone's own forward back."""
        self._restore()

    def before_train(self, runner: Runner) -> None:
        """Bring it back where a test was broken off, which no hook is told."""
        self._restore()

    def _fold(self, runner: Runner) -> None:
        self._restore()
        for detector in modules_with_backbone(runner.model):
            backbone = detector.backbone
            if 'forward' in vars(backbone):
                continue
            folded = fold_norms(backbone)
            if folded is not backbone:
                backbone.forward = folded.forward
                self._backbones.append(backbone)

    def _restore(self) -> None:
        while self._backbones:
            del self._backbones.pop().forward
