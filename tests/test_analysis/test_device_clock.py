import time

import torch

from mmdet_srn.analysis.device_clock import device_clock


def test_of_a_cpu():
    assert device_clock(torch.device('cpu')) is time.perf_counter


def test_of_a_gpu_waits_for_it(monkeypatch):
    called = []
    monkeypatch.setattr(torch.cuda, 'synchronize', called.append)
    monkeypatch.setattr(time, 'perf_counter', lambda: called.append('read') or 5.0)
    device = torch.device('cuda:1')
    assert device_clock(device)() == 5.0
    assert called == [device, 'read']
