"""Training of a part of a model, such as a new branch of a trained detector."""

from collections.abc import Sequence

from mmdet.registry import HOOKS
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner


@HOOKS.register_module()
class TrainOnlyHook(Hook):
    """Freeze all parameters but those of some modules.

    Norms' statistics are not parameters: freeze them by ``norm_eval``.

    Args:
        modules: Names of the modules to train, as in the state dict, such as
            ``['bbox_head.query']``.

    Raises:
        ValueError: Before training, if a module has no parameters or does not exist.
    """

    def __init__(self, modules: Sequence[str]) -> None:
        self.modules = tuple(modules)

    def before_train(self, runner: Runner) -> None:
        """Freeze the others."""
        wrapped = is_model_wrapper(runner.model)
        model = runner.model.module if wrapped else runner.model
        missing = set(self.modules)
        for name, parameter in model.named_parameters():
            owners = {each for each in self.modules if name.startswith(f'{each}.')}
            parameter.requires_grad_(bool(owners))
            missing -= owners
        if missing:
            raise ValueError(f'TrainOnlyHook: no parameters in {sorted(missing)}')
        if wrapped:  # anew: DDP chose whose gradients to wait for when it was made
            runner.model = runner.wrap_model(runner.cfg.get('model_wrapper_cfg'), model)
