"""Every epoch starts from a random state of its own."""

import logging
import random

import numpy as np
import torch
from mmdet.registry import HOOKS
from mmengine.dataset import worker_init_fn
from mmengine.hooks import DistSamplerSeedHook
from mmengine.logging import print_log
from mmengine.runner import Runner
from torch.utils.data import Sampler


@HOOKS.register_module()
class EpochSeedHook(DistSamplerSeedHook):
    """Make a resumed run go on as the uninterrupted one would have.

    mmengine's checkpoints hold no random state, and its workers are seeded when they
    start: persistent ones carry on from there, so that a resumed run sees the images
    augmented otherwise; others start each epoch with the same random numbers. With
    this hook the random state at an epoch's start is a function of seed, epoch,
    iteration and process, and so is the one of the loader's workers, which are
    started anew each epoch. In the place of ``DistSamplerSeedHook``::

        default_hooks = dict(sampler_seed=dict(type='EpochSeedHook'))
        train_dataloader = dict(persistent_workers=False)

    What holds, with as many processes and workers as before:

    - Epoch-based training, from any epoch's checkpoint: the same images in the same
      order, augmented the same way; on a CPU the same losses to the bit, on a GPU as
      far as its kernels are deterministic (``randomness.deterministic=True``). An
      interrupted epoch is run again from its beginning, as a checkpoint is written
      at its end. Accumulated gradients are in no checkpoint: see
      ``WholeStepSampler``.
    - Iteration-based training: mmengine goes on in the order of the images, the
      augmentation after a resumption is another one.
    - Without ``randomness.seed`` mmengine draws a seed and keeps it in the
      checkpoint, but after a resumption shuffles by one drawn anew; the hook sets
      that right. Not so with ``diff_rank_seed=True``, which needs a fixed seed.
    """

    def before_run(self, runner: Runner) -> None:
        """Remember the seed from which the data loader was built.

        Args:
            runner (Runner): The runner; it has not resumed yet.
        """
        self._built_with = runner.seed

    def before_train(self, runner: Runner) -> None:
        """Give sampler and workers the run's own seed.

        Args:
            runner (Runner): The runner; a checkpoint's seed is in place.
        """
        loader = runner.train_dataloader
        sampler = _sampler(loader)
        if getattr(sampler, 'seed', None) == self._built_with:
            sampler.seed = runner.seed
        # mmengine's gives the workers of each epoch the same seeds. Without it they
        # have PyTorch's, which are drawn from this process's state.
        if getattr(loader.worker_init_fn, 'func', None) is worker_init_fn:
            loader.worker_init_fn = None
        if loader.persistent_workers:
            print_log(
                'train_dataloader.persistent_workers=True: workers carry their random '
                'state from epoch to epoch, and a run that is resumed will see other '
                'augmentations than an uninterrupted one',
                logger='current',
                level=logging.WARNING,
            )

    def before_train_epoch(self, runner: Runner) -> None:
        """Seed this process, and from it the workers that will be started.

        Args:
            runner (Runner): The runner.
        """
        super().before_train_epoch(runner)
        source = (runner.seed, runner.epoch, runner.iter, runner.rank)
        seed = int(np.random.SeedSequence(source).generate_state(1)[0])
        random.seed(seed)
        np.random.seed(seed)
        torch.manual_seed(seed)


def _sampler(loader: torch.utils.data.DataLoader) -> Sampler:
    """The sampler of images, also inside a batch sampler that was given."""
    batch_sampler = getattr(loader, 'batch_sampler', None)
    return getattr(batch_sampler, 'sampler', loader.sampler)
