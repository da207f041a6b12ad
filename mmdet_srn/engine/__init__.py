"""Survive, repeat, fit: what a training run needs beyond mmengine."""

from .atomic_backend import AtomicLocalBackend
from .bfloat16_optim_wrapper import BFloat16OptimWrapper
from .hooks.atomic_checkpoint_hook import AtomicCheckpointHook
from .hooks.checkpoint_fit_hook import CheckpointFitHook
from .hooks.epoch_seed_hook import EpochSeedHook
from .hooks.fold_norms_hook import FoldNormsHook
from .hooks.folder_visualization_hook import FolderVisualizationHook
from .hooks.invalid_loss_hook import InvalidLossHook
from .hooks.metric_check_hook import MetricCheckHook
from .hooks.train_only_hook import TrainOnlyHook
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
    'TrainOnlyHook',
    'WholeStepSampler',
]
