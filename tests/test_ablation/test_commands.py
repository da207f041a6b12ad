"""Each of several runs at a time gets its share of the machine."""

import os

import pytest
import torch

from mmdet_srn.ablation.commands import environment

GIVEN = 'CUDA_VISIBLE_DEVICES'


@pytest.fixture(autouse=True)
def machine(monkeypatch):
    """Eight cores, two GPUs, nothing said of either."""
    monkeypatch.delenv(GIVEN, raising=False)
    monkeypatch.delenv('OMP_NUM_THREADS', raising=False)
    monkeypatch.setattr(os, 'cpu_count', lambda: 8)
    monkeypatch.setattr(torch.cuda, 'device_count', lambda: 2)


def gpus(jobs: int, of_each: int) -> list[str | None]:
    return [environment(slot, jobs, of_each).get(GIVEN) for slot in range(jobs)]


@pytest.mark.parametrize('given', [None, '3,5'])
def test_one_run_has_all(given, monkeypatch):
    if given is not None:
        monkeypatch.setenv(GIVEN, given)
    assert environment(0, jobs=1, gpus=2) == dict(os.environ)


@pytest.mark.parametrize(
    ('given', 'jobs', 'of_each', 'expected'),
    [
        ('3,5,7', 3, 1, ['3', '5', '7']),
        ('0,1,2,3', 2, 2, ['0,1', '2,3']),
        ('GPU-a,GPU-b', 2, 1, ['GPU-a', 'GPU-b']),
        # Not enough: in turn.
        ('4,6', 3, 1, ['4', '6', '4']),
        ('4,6,8', 2, 2, ['4,6', '8,4']),
        ('4', 2, 2, ['4', '4']),
        # None are to be used.
        ('', 2, 1, ['', '']),
    ],
)
def test_gpus_that_are_named(given, jobs, of_each, expected, monkeypatch):
    monkeypatch.setenv(GIVEN, given)
    assert gpus(jobs, of_each) == expected


def test_gpus_of_the_machine(monkeypatch):
    assert gpus(2, 1) == ['0', '1']
    assert gpus(3, 1) == ['0', '1', '0']
    monkeypatch.setattr(torch.cuda, 'device_count', lambda: 0)
    assert gpus(2, 1) == [None, None]


def test_threads(monkeypatch):
    def threads(jobs: int) -> str:
        return environment(0, jobs, 1)['OMP_NUM_THREADS']

    assert [threads(jobs) for jobs in (2, 3, 16)] == ['4', '2', '1']
    monkeypatch.setenv('OMP_NUM_THREADS', '3')
    assert threads(2) == '3'
