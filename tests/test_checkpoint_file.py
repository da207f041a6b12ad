import argparse
import os
import pickle

import numpy as np
import pytest
import torch
from mmdet.registry import MODELS
from mmengine.logging import HistoryBuffer, MessageHub
from mmengine.runner import CheckpointLoader

import mmdet_srn  # noqa: F401
from mmdet_srn.checkpoint_file import find_misfits, load_checkpoint, torch_load
from mmdet_srn.trust import TRUST, add_trust_option


class RunsCode:
    def __reduce__(self):
        return os.mkdir, ('the_file_ran_code',)


@pytest.fixture(autouse=True)
def own_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(os, 'environ', os.environ.copy())
    os.environ.pop(TRUST, None)


def has_run():
    return os.path.exists('the_file_ran_code')


@pytest.fixture(params=[True, False], ids=['zip', 'old format'])
def hostile(tmp_path, request):
    path = tmp_path / 'hostile.pth'
    state = dict(state_dict=dict(a=torch.zeros(1)), meta=RunsCode())
    torch.save(state, path, _use_new_zipfile_serialization=request.param)
    return path


def init_backbone(path):
    init_cfg = dict(type='PretrainedBackbone', checkpoint=str(path))
    MODELS.build(dict(type='ResNet', depth=18, init_cfg=init_cfg)).init_weights()


def test_a_checkpoint_that_runs_code_is_refused(hostile):
    stock = CheckpointLoader.load_checkpoint
    for load in (load_checkpoint, lambda path: stock(str(path)), init_backbone):
        message = r'hostile\.pth .*mkdir.*--trust-checkpoint'
        with pytest.raises(ValueError, match=message):
            load(hostile)
        assert not has_run()


def test_getattr_is_for_the_message_hub_alone(tmp_path):
    class Attribute:
        def __reduce__(self):
            return getattr, self.arguments

    attribute, path = Attribute(), tmp_path / 'attribute.pth'
    attribute.arguments = (HistoryBuffer, 'min')
    torch.save(dict(a=torch.zeros(1), b=attribute), path)
    assert torch_load(path)['b'] is HistoryBuffer.min
    attribute.arguments = (HistoryBuffer.min, '__globals__')
    torch.save(dict(a=torch.zeros(1), b=attribute), path)
    with pytest.raises(ValueError, match=r'attribute\.pth is refused'):
        torch_load(path)


def test_an_address_is_read_the_same_way(hostile, monkeypatch):
    """From torch's cache, where mmengine passes weights_only=False."""
    monkeypatch.setenv('TORCH_HOME', str(hostile.parent))
    cache = hostile.parent / 'hub' / 'checkpoints'
    cache.mkdir(parents=True)
    hostile.rename(cache / 'hostile.pth')
    before = dict(os.environ)
    with pytest.raises(ValueError, match=r'hostile\.pth .*--trust-checkpoint'):
        CheckpointLoader.load_checkpoint('http://127.0.0.1:9/hostile.pth')
    assert not has_run()
    assert os.environ == before


def test_switch_for_those_who_trust(hostile):
    parser = argparse.ArgumentParser()
    add_trust_option(parser)
    parser.parse_args(['--trust-checkpoint'])
    torch_load(hostile)
    assert has_run()


def test_a_training_state_needs_no_trust(tmp_path):
    hub = MessageHub.get_instance('test_a_training_state')
    hub.update_scalar('train/loss', np.float32(0.5))
    hub.update_scalar('train/lr', 0.1)
    hub.update_info('best', np.float64(0.25))
    hub.update_info('sizes', np.arange(3, dtype=np.int32))
    weight = torch.nn.Parameter(torch.ones(2))
    optimizer = torch.optim.SGD([weight], lr=0.1, momentum=0.9)
    weight.sum().backward()
    optimizer.step()
    path = tmp_path / 'epoch_1.pth'
    state = dict(
        state_dict=dict(weight=weight.data),
        optimizer=optimizer.state_dict(),
        message_hub=hub.state_dict(),
        meta=dict(epoch=1, dataset_meta=dict(classes=('face',))),
    )
    torch.save(state, path)
    read = load_checkpoint(path)
    scalars = read['message_hub']['log_scalars']
    assert scalars['train/loss'].current() == 0.5
    assert read['message_hub']['runtime_info']['best'] == 0.25
    assert read['meta'] == state['meta']
    buffer = read['optimizer']['state'][0]['momentum_buffer']
    assert torch.equal(buffer, torch.ones(2))


def test_damaged_file_is_named(tmp_path):
    path = tmp_path / 'text.pth'
    path.write_bytes(pickle.dumps([1])[:-3])
    with pytest.raises(ValueError, match=r'text\.pth is no PyTorch checkpoint'):
        torch_load(path)
    with pytest.raises(FileNotFoundError, match=r'absent\.pth'):
        torch_load(tmp_path / 'absent.pth')


def test_a_config_as_text_is_not_handed_on(tmp_path):
    """mmengine would run it as Python on --resume."""
    path = tmp_path / 'old.pth'
    torch.save(dict(state_dict=dict(a=torch.zeros(1)), meta=dict(config='x=1')), path)
    assert CheckpointLoader.load_checkpoint(str(path))['meta'] == {}


def test_averages_of_positives_are_no_weights(tmp_path):
    model = torch.nn.Linear(2, 1)
    state = {**model.state_dict(), 'bbox_head.avg_factors.total': torch.zeros(3)}
    assert find_misfits(model, dict(state_dict=state)) == {}
    assert find_misfits(model, dict(state_dict={**state, 'other': state['bias']}))
