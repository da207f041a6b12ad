"""Hooks; registered in ``mmdet.registry.HOOKS``."""

from .atomic_checkpoint_hook import AtomicCheckpointHook
from .checkpoint_fit_hook import CheckpointFitHook
from .epoch_seed_hook import EpochSeedHook
from .fold_norms_hook import FoldNormsHook
from .invalid_loss_hook import InvalidLossHook

__all__ = [
    'AtomicCheckpointHook',
    'CheckpointFitHook',
    'EpochSeedHook',
    'FoldNormsHook',
    'InvalidLossHook',
]
