"""Epochs of whole optimizer steps."""

import math
from collections.abc import Sized

from mmdet.registry import DATA_SAMPLERS
from mmengine.dataset import DefaultSampler


@DATA_SAMPLERS.register_module()
class WholeStepSampler(DefaultSampler):
    """``DefaultSampler`` whose epochs hold a whole number of optimizer steps.

    With accumulated gradients, mmengine lets a step span two epochs, but its
    checkpoints hold no gradients, so a resumed run loses the beginning of such a step.
    Here an epoch's last step is filled up with the epoch's first images, as
    ``DefaultSampler`` fills up the last batch for several processes.

    Args:
        dataset: The data set.
        step_size: Images per step: batch size x processes x accumulated batches.
        shuffle: Shuffle each epoch.
        seed: The same in all processes; drawn if None.

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
