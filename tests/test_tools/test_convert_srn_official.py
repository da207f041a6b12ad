import collections
import os
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from mmdet.registry import MODELS
from mmengine.config import Config

import mmdet_srn  # noqa: F401
from tests.reference import released_network
from tests.tool_loader import find_tool, load_tool

REPO = Path(__file__).resolve().parents[2]
TOOL = find_tool('convert_srn_official')
# The released network at a fraction of its width: the same 418 names.
SLIM = f"""
_base_ = '{(REPO / 'configs' / 'srn_r50_fpn_widerface_released.py').as_posix()}'
model = dict(
    backbone=dict(base_channels=8),
    neck=dict(in_channels=[32, 64, 128, 256], out_channels=16, extra_channels=(32, 16)),
    bbox_head=dict(in_channels=16, feat_channels=16, share_cls_predictor=SHARED))
"""


@pytest.fixture(scope='module')
def tool():
    return load_tool('convert_srn_official')


@pytest.fixture(scope='module')
def network():
    network = released_network.ReleasedSRN(width=8, channels=16, extra=(32, 16))
    shapes = {name: value.shape for name, value in network.state_dict().items()}
    network.load_state_dict(released_network.seeded_values(shapes))
    return network.eval()


@pytest.fixture
def released(network):
    return collections.OrderedDict(
        (f'module.{name}', value.clone())
        for name, value in network.state_dict().items()
    )


@pytest.fixture
def run(tool, tmp_path, monkeypatch):
    """Converts a checkpoint, or whatever bytes, with a slim config."""

    def run(content, shared=False):
        config = tmp_path / f'slim_{shared}.py'
        config.write_text(SLIM.replace('SHARED', str(shared)))
        src, dst = tmp_path / 'src.pth', tmp_path / 'new' / 'dst.pth'
        if isinstance(content, bytes):
            src.write_bytes(content)
        elif content is not None:
            torch.save(content, src)
        arguments = ['convert', str(src), str(dst), '--config', str(config)]
        monkeypatch.setattr(sys, 'argv', arguments)
        tool.main()
        return config, dst

    return run


def build(config):
    cfg = Config.fromfile(config)
    return MODELS.build(dict(cfg.model, _scope_='mmdet')).eval()


def outputs(model):
    x = torch.linspace(-2, 2, 3 * 70 * 100).sin().view(1, 3, 70, 100)
    with torch.no_grad():
        return model.bbox_head(model.extract_feat(x)), x


@pytest.mark.parametrize(('prefix', 'shared'), [('', False), ('module.', True)])
def test_same_outputs(run, network, prefix, shared, capsys):
    state = {f'{prefix}{k}': v for k, v in network.state_dict().items()}
    config, dst = run(dict(state_dict=state, epoch=3, optimizer={}), shared)
    printed = capsys.readouterr().out
    assert 'from the 418 of' in printed
    assert 'left behind: epoch, optimizer' in printed
    assert ('fills the class predictors of both steps' in printed) != shared

    checkpoint = torch.load(dst, weights_only=True)
    assert len(checkpoint['state_dict']) == 418 + (0 if shared else 2)
    model = build(config)
    model.load_state_dict(checkpoint['state_dict'], strict=True)
    (first_cls, first_reg, cls, reg), x = outputs(model)
    with torch.no_grad():
        plain = network(x)
    for ours, theirs in (
        (first_cls, plain.first_cls[:3]),
        (first_reg, plain.first_reg[3:]),
        (cls, plain.cls),
        (reg, plain.reg),
    ):
        for a, b in zip(ours, theirs, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


def test_every_tensor_arrives(tool, network, tmp_path):
    """Each value is found again, the counters of BatchNorm among them."""
    config = tmp_path / 'slim.py'
    config.write_text(SLIM.replace('SHARED', 'False'))
    released = {
        name: torch.full_like(value, index)
        for index, (name, value) in enumerate(network.state_dict().items())
    }
    wanted = build(config).state_dict()
    state = tool.convert(released, wanted)
    assert list(state) == list(wanted)
    values = collections.Counter(int(v.flatten()[0]) for v in state.values())
    twice = {released[f'cls_subnet_pred.{k}'].flatten()[0] for k in ('weight', 'bias')}
    assert values == {i: 2 if i in map(int, twice) else 1 for i in range(418)}
    for name, value in state.items():
        assert (value.dtype, value.shape) == (wanted[name].dtype, wanted[name].shape)
    storages = {value.data_ptr() for value in state.values()}
    assert len(storages) == len(state)


def test_detector_tools_name_the_class(run, released):
    from mmdet.apis import DetInferencer

    config, dst = run(dict(state_dict=released))
    meta = torch.load(dst, weights_only=True)['meta']
    assert meta['dataset_meta']['classes'] == ('face',)
    assert 'SRNHead' in meta['cfg']
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter('always')
        inferencer = DetInferencer(str(config), str(dst), device='cpu')
    assert not [w for w in caught if 'COCO' in str(w.message)]
    assert inferencer.visualizer.dataset_meta['classes'] == ('face',)
    image = np.random.default_rng(0).integers(0, 256, (64, 96, 3), dtype=np.uint8)
    found = inferencer(image, no_save_vis=True)['predictions'][0]
    assert len(found['scores']) > 0
    assert set(found['labels']) == {0}
    # the config in the file is enough
    assert DetInferencer(weights=str(dst), device='cpu').model.dataset_meta['classes']


def test_all_that_does_not_fit_is_listed(run, released, tmp_path):
    del released['module.layer3.4.bn2.running_mean']
    del released['module.c7_conv.bias']
    released['module.fc.weight'] = torch.zeros(2, 2)
    released['module.cls_subnet.2.branch4.0.weight'] = torch.zeros(1)
    released['module.layer1.3.conv1.weight'] = torch.zeros(1)
    released['module.p6_conv.weight'] = torch.zeros(16, 16, 1, 1)
    released['module.c2_conv.weight'] = [1.0]
    released['module.conv1.weight'] = torch.zeros(8, 3, 7, 7, dtype=torch.int64)
    released['p7_conv.bias'] = torch.zeros(16)
    released[5] = torch.zeros(1)
    with pytest.raises(SystemExit) as caught:
        run(dict(state_dict=released))
    lines = caught.value.code.splitlines()
    assert 'nothing is written' in lines[0]
    assert sorted(lines[1:]) == [
        'missing: backbone.layer3.4.bn2.running_mean',
        'missing: neck.reducers.5.bias',
        'no tensor: module.c2_conv.weight is a list',
        'twice: module.p7_conv.bias and p7_conv.bias are one weight',
        'unexpected: 5',
        'unexpected: module.cls_subnet.2.branch4.0.weight',
        'unexpected: module.fc.weight',
        'unexpected: module.layer1.3.conv1.weight',
        'wrong shape: module.p6_conv.weight is (16, 16, 1, 1), '
        'neck.fpn.fpn_convs.4.conv.weight is (16, 16, 3, 3)',
        'wrong type: module.conv1.weight is torch.int64, '
        'backbone.conv1.weight is torch.float32',
    ]
    assert not (tmp_path / 'new').exists()


class Evil:
    """Its unpickling leaves a trace."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize('zipped', [True, False])
def test_no_code_is_run(run, released, tmp_path, zipped):
    """Nor of a file of an old torch, which is read as well."""
    trace, path = tmp_path / 'trace', tmp_path / 'src.pth'
    content = dict(state_dict=released, extra=Evil(trace))
    torch.save(content, path, _use_new_zipfile_serialization=zipped)
    with pytest.raises(SystemExit, match=r'is refused.*mkdir'):
        run(None)
    assert not trace.exists() and not (tmp_path / 'new').exists()
    content = dict(state_dict=released)
    torch.save(content, path, _use_new_zipfile_serialization=zipped)
    assert run(None)[1].is_file()


def test_destination(tool, tmp_path, monkeypatch):
    src = tmp_path / 'src.pth'
    torch.save({}, src)
    for dst, message in ((tmp_path, 'a folder'), (src, 'is SRC')):
        monkeypatch.setattr(sys, 'argv', ['convert', str(src), str(dst)])
        with pytest.raises(SystemExit, match=message):
            tool.main()


@pytest.mark.parametrize(
    ('content', 'message'),
    [
        (b'hello, world', 'no PyTorch checkpoint'),
        (None, 'can not be found'),
        (dict(state_dict=[1]), 'holds no weights'),
        (dict(state_dict={}), 'holds no weights'),
        (dict(state_dict=dict(x=torch.ones(1))), 'missing: backbone.conv1.weight'),
    ],
)
def test_files_that_are_no_checkpoint(run, tmp_path, content, message):
    with pytest.raises(SystemExit) as caught:
        run(content)
    assert message in caught.value.code
    assert 'src.pth' in caught.value.code
    assert not (tmp_path / 'new').exists()


def test_half_precision_becomes_single(run, released, capsys):
    for name, value in released.items():
        if value.is_floating_point():
            released[name] = value.half()
    _, dst = run(dict(state_dict=released))
    assert 'another precision and are float32 now' in capsys.readouterr().out
    state = torch.load(dst, weights_only=True)['state_dict']
    assert {v.dtype for v in state.values()} == {torch.float32, torch.int64}


def test_a_failed_write_leaves_the_old_file(run, released, monkeypatch, tmp_path):
    _, dst = run(dict(state_dict=released))
    before = dst.read_bytes()
    save = torch.save

    def full(content, file):
        if not isinstance(file, os.PathLike):
            file.write(b'half')
            raise OSError('no space left')
        save(content, file)

    monkeypatch.setattr(torch, 'save', full)
    with pytest.raises(SystemExit, match='no space left'):
        run(dict(state_dict=released))
    assert dst.read_bytes() == before
    assert [path.name for path in dst.parent.iterdir()] == ['dst.pth']
