"""Survive, repeat, fit: what a training run needs beyond mmengine."""

from .atomic_backend import AtomicLocalBackend
from .bfloat16_optim_wrapper import BFloat16OptimWrapper
from .hooks import (
    AtomicCheckpointHook,
    CheckpointFitHook,
    EpochSeedHook,
    FolderVisualizationHook,
    FoldNormsHook,
    InvalidLossHook,
    MetricCheckHook,
)
from .whole_step_sampler import WholeStepSampler

__all__ = [
    'AtomicCheckpointHook',
    'AtomicLocalBackend',
    'BFloat16OptimWrapper',
    'CheckpointFitHook',
    'EpochSeedHook',
    'FoldNormsHook',
    'FolderVisualizationHook',
    'InvalidLossHook',
    'MetricCheckHook',
    'WholeStepSampler',
]
