"""Every epoch starts from its own random state."""

import random

import numpy as np
import torch
from mmdet.registry import HOOKS
from mmengine.dataset import worker_init_fn
from mmengine.hooks import DistSamplerSeedHook
from mmengine.runner import Runner


@HOOKS.register_module()
class EpochSeedHook(DistSamplerSeedHook):
    """Make a resumed run continue as the uninterrupted one would have.

    mmengine's checkpoints hold no random state. Its persistent workers carry theirs
    from epoch to epoch, so a resumed run is augmented differently; other workers repeat
    the same random numbers each epoch. With this hook the random state at the start of
    an epoch is a function of seed, epoch, iteration and process, and so is that of the
    workers, started anew each epoch. It replaces ``DistSamplerSeedHook``::

        default_hooks = dict(sampler_seed=dict(type='EpochSeedHook'))
        train_dataloader = dict(persistent_workers=False)

    With the same number of processes and workers:

    - Epoch-based training sees the same images in the same order and augmentation;
      losses are equal to the bit on a CPU, on a GPU as far as its kernels are
      deterministic (``randomness.deterministic=True``). An interrupted epoch starts
      over. For accumulated gradients see ``WholeStepSampler``.
    - Iteration-based training keeps the order of images, but not the augmentation.
    - Without ``randomness.seed`` mmengine stores the drawn seed in the checkpoint, but
      a resumed run shuffles by a new one; this hook corrects that. Not so with
      ``diff_rank_seed=True``, which needs a fixed seed.
    """

    def before_run(self, runner: Runner) -> None:
        """Remember the seed that built the data loader."""
        self._built_with = runner.seed

    def before_train(self, runner: Runner) -> None:
        """Give sampler and workers the run's own seed, after a checkpoint set it."""
        loader = runner.train_dataloader
        # The sampler of images, also from inside a given batch sampler
        batch_sampler = getattr(loader, 'batch_sampler', None)
        sampler = getattr(batch_sampler, 'sampler', loader.sampler)
        if getattr(sampler, 'seed', None) == self._built_with:
            sampler.seed = runner.seed
        # mmengine's repeats the seeds each epoch; PyTorch's come from this process.
        if getattr(loader.worker_init_fn, 'func', None) is worker_init_fn:
            loader.worker_init_fn = None
        if loader.persistent_workers:
            runner.logger.warning(
                'train_dataloader.persistent_workers=True: workers keep their random '
                'state between epochs, so a resumed run will see other augmentations'
            )

    def before_train_epoch(self, runner: Runner) -> None:
        """Seed this process and, through it, the workers that it starts."""
        super().before_train_epoch(runner)
        source = (runner.seed, runner.epoch, runner.iter, runner.rank)
        seed = int(np.random.SeedSequence(source).generate_state(1)[0])
        random.seed(seed)
        np.random.seed(seed)
        torch.manual_seed(seed)
