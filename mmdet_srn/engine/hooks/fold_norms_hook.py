"""Validation and test without the time that batch norms take."""

from contextlib import ExitStack

from mmdet.registry import HOOKS
from mmengine.hooks import Hook
from mmengine.runner import Runner

from ...analysis.replaced import replaced
from ...models.utils.fold_norms import fold_norms, modules_with_backbone


@HOOKS.register_module()
class FoldNormsHook(Hook):
    """Fold the backbone's batch norms into its convolutions, while it is tested.

    The maps differ by rounding alone. Weights, checkpoints and training are not
    touched: in the meantime the backbone's ``forward`` is that of a folded copy. A
    backbone that has nothing to fold is left alone.
    """

    priority = 'VERY_LOW'  # behind EMAHook, which puts the averaged weights in first

    def __init__(self) -> None:
        self._replaced = ExitStack()

    def before_val_epoch(self, runner: Runner) -> None:
        """Fold; see ``mmengine.hooks.Hook``."""
        self._fold(runner)

    def after_val_epoch(
        self, runner: Runner, metrics: dict[str, float] | None = None
    ) -> None:
        """Bring the backbone's own forward back."""
        self._replaced.close()

    def before_test_epoch(self, runner: Runner) -> None:
        """Fold; see ``mmengine.hooks.Hook``."""
        self._fold(runner)

    def after_test_epoch(
        self, runner: Runner, metrics: dict[str, float] | None = None
    ) -> None:
        """Bring the backbone's own forward back."""
        self._replaced.close()

    def _fold(self, runner: Runner) -> None:
        for detector in modules_with_backbone(runner.model):
            backbone = detector.backbone
            folded = fold_norms(backbone)
            if folded is not backbone:
                self._replaced.enter_context(
                    replaced(backbone, 'forward', folded.forward)
                )
