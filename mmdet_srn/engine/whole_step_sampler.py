"""Epochs of whole optimiser steps."""

import math
from collections.abc import Sized

from mmdet.registry import DATA_SAMPLERS
from mmengine.dataset import DefaultSampler


@DATA_SAMPLERS.register_module()
class WholeStepSampler(DefaultSampler):
    """``DefaultSampler`` whose epochs hold a whole number of optimiser steps.

    With gradients accumulated over several iterations, mmengine lets a step begin in
    one epoch and end in the next. Its checkpoints hold no gradients, so a run that is
    resumed loses the beginning of such a step. Here the last step of an epoch is
    filled up with the epoch's first images, as ``DefaultSampler`` itself fills up the
    last batch for several processes.

    Args:
        dataset (Sized): The data set.
        step_size (int): Images of one step: images of a batch, times processes, times
            accumulated batches.
        shuffle (bool): Defaults to True.
        seed (int, optional): The same in all processes. Defaults to None, drawn.

    Raises:
        ValueError: If the processes cannot have equal shares of a step.
    """

    def __init__(
        self,
        dataset: Sized,
        step_size: int,
        shuffle: bool = True,
        seed: int | None = None,
    ) -> None:
        super().__init__(dataset, shuffle=shuffle, seed=seed, round_up=True)
        if step_size < 1 or step_size % self.world_size:
            raise ValueError(
                f'{self.world_size} processes cannot share steps of {step_size} images'
            )
        self.total_size = math.ceil(len(dataset) / step_size) * step_size
        self.num_samples = self.total_size // self.world_size
