import pytest
import torch

from mmdet_srn.benchmark import memory
from mmdet_srn.benchmark.memory import peak_memory

CPU = torch.device('cpu')


def test_peak_of_a_call():
    def call():
        torch.ones(50, 2**20)  # 200 MiB, freed
        return torch.ones(10, 2**20)

    ones, found = peak_memory(call, CPU)
    assert ones.shape == (10, 2**20)
    if found is None:
        pytest.skip('no Linux, or the peak cannot be reset in this container')
    assert 190 * 2**20 < found < 300 * 2**20
    assert peak_memory(lambda: None, CPU)[1] < 50 * 2**20


def test_unknown(monkeypatch, tmp_path):
    assert peak_memory(lambda: 1, torch.device('meta')) == (1, None)
    monkeypatch.setattr(memory, '_PROCESS', tmp_path / 'none')
    assert peak_memory(lambda: 2, CPU) == (2, None)
