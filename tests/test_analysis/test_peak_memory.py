import sys

import pytest
import torch

from mmdet_srn.analysis import peak_memory as module
from mmdet_srn.analysis.peak_memory import peak_memory

CPU = torch.device('cpu')


@pytest.mark.skipif(not sys.platform.startswith('linux'), reason='only Linux tells')
def test_what_a_call_holds_at_most():
    def call():
        torch.ones(50, 2**20)  # 200 MiB, freed
        return torch.ones(10, 2**20)

    found = peak_memory(call, CPU)
    if found is None:
        pytest.skip('the peak cannot be reset in this container')
    assert 190 * 2**20 < found < 300 * 2**20
    assert peak_memory(lambda: None, CPU) < 50 * 2**20


def test_unknown(monkeypatch, tmp_path):
    calls = []
    assert peak_memory(lambda: calls.append(1), torch.device('meta')) is None
    monkeypatch.setattr(module, '_PROCESS', tmp_path / 'none')
    assert peak_memory(lambda: calls.append(2), CPU) is None
    assert calls == [1, 2]
