"""Hooks; registered in ``mmdet.registry.HOOKS``."""

from .atomic_checkpoint_hook import AtomicCheckpointHook
from .epoch_seed_hook import EpochSeedHook
from .invalid_loss_hook import InvalidLossHook

__all__ = ['AtomicCheckpointHook', 'EpochSeedHook', 'InvalidLossHook']
