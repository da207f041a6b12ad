"""Two processes have the losses of one with both batches."""

import os
import socket

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from tests.test_models.test_dense_heads.test_srn_head import (
    build,
    faces,
    maps,
    metas,
    scalars,
)

GTS = [8, 3]  # faces of each image: the processes differ in positives


def free_port() -> int:
    with socket.socket() as s:
        s.bind(('127.0.0.1', 0))
        return s.getsockname()[1]


def image_losses(images):
    head = build()
    x = [m[images] for m in maps(len(GTS))]
    gts = [faces(GTS[i], seed=i) for i in images]
    return scalars(head.loss_by_feat(*head(x), gts, metas(len(images))))


def worker(rank, port, queue):
    os.environ.update(MASTER_ADDR='127.0.0.1', MASTER_PORT=str(port))
    torch.set_num_threads(1)
    dist.init_process_group('gloo', rank=rank, world_size=2)
    queue.put(image_losses([rank]))
    dist.barrier()
    dist.destroy_process_group()


def test_normalisers_are_averaged_across_processes():
    context = mp.get_context('spawn')
    queue = context.SimpleQueue()
    mp.spawn(worker, args=(free_port(), queue), nprocs=2)
    alone = [queue.get() for _ in range(2)]
    joint = image_losses([0, 1])
    assert joint['num_pos_second'] > 0 and joint['num_pos_first'] > 0
    for name, value in joint.items():
        if name.startswith('loss'):
            assert sum(a[name] for a in alone) / 2 == pytest.approx(value, rel=1e-4)
        elif name.startswith('num_pos'):
            assert sum(a[name] for a in alone) == value
