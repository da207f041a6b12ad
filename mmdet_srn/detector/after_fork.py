"""PyTorch in a process that was forked."""

import functools
import os

import torch


@functools.cache
def use_one_thread_after_fork() -> None:
    """Lets PyTorch compute in one thread in children that os.fork makes from now on.

    OpenMP's threads do not come along: a child that counts on them waits for ever.
    torch's DataLoader does the same in its workers.
    """
    os.register_at_fork(after_in_child=functools.partial(torch.set_num_threads, 1))
