"""Hooks; registered in ``mmdet.registry.HOOKS``."""

from .atomic_checkpoint_hook import AtomicCheckpointHook
from .checkpoint_fit_hook import CheckpointFitHook
from .epoch_seed_hook import EpochSeedHook
from .fold_norms_hook import FoldNormsHook
from .folder_visualization_hook import FolderVisualizationHook
from .invalid_loss_hook import InvalidLossHook
from .metric_check_hook import MetricCheckHook

__all__ = [
    'AtomicCheckpointHook',
    'EpochSeedHook',
    'FoldNormsHook',
    'FolderVisualizationHook',
    'InvalidLossHook',
    'MetricCheckHook',
    'CheckpointFitHook',
]
