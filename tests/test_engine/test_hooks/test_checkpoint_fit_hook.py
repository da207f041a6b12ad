import pytest
import torch
from mmengine.config import Config
from mmengine.evaluator import BaseMetric, Evaluator
from mmengine.model import BaseModel, BaseTTAModel
from torch import nn

import mmdet_srn  # noqa: F401
from tests.test_engine.small_runner import small_runner
from tests.training import ROOT

ABSENT = dict(type='PretrainedBackbone', checkpoint='no/such/file.pth')


class Model(BaseModel):
    def __init__(self, channels=2, init_cfg=None):
        super().__init__(init_cfg=init_cfg)
        self.first = nn.Linear(1, 3)
        self.last = nn.Linear(3, channels)

    def forward(self, *inputs, mode):
        if mode != 'loss':
            return [0]
        return dict(loss=self.last(self.first(torch.ones(1, 1))).sum())


class Averaged(BaseTTAModel):
    def merge_preds(self, data_samples_list):
        return data_samples_list

    def test_step(self, data):
        return [0]


class Nothing(BaseMetric):
    def process(self, data_batch, data_samples):
        self.results.append(None)

    def compute_metrics(self, results):
        return {}


def runner(work_dir, model, epochs=1, hook=None, **options):
    hooks = dict(checkpoint_fit=dict(type='CheckpointFitHook', **(hook or {})))
    evaluator = Evaluator(Nothing())
    return small_runner(
        work_dir, model, 'test', evaluator, epochs, hooks=hooks, **options
    )


@pytest.fixture
def trained(tmp_path):
    """The checkpoint of a short training."""
    runner(tmp_path / 'run', Model()).train()
    return tmp_path / 'run' / 'epoch_1.pth'


def test_its_own_checkpoint(trained, tmp_path):
    runner(tmp_path / 'test', Model(), load_from=str(trained)).test()
    runner(tmp_path / 'tta', Averaged(Model()), load_from=str(trained)).test()
    again = runner(trained.parent, Model(), epochs=2, resume=True)
    again.train()
    assert again.iter == 2


@pytest.mark.parametrize('hook', [{}, dict(allow_partial=True)])
@pytest.mark.parametrize('what', ['test', 'tta', 'resume'])
def test_another_network_is_an_error(trained, tmp_path, what, hook):
    model = Averaged(Model(5)) if what == 'tta' else Model(5)
    wrong = runner(
        tmp_path / what, model, 2, hook, load_from=str(trained), resume=what == 'resume'
    )
    with pytest.raises(ValueError, match=r'epoch_1\.pth does not fit .*2 of another'):
        wrong.train() if what == 'resume' else wrong.test()


def test_resume_does_not_drop_the_start(trained, tmp_path):
    """mmdet's --resume sets load_from to None, whether there is a checkpoint or not."""
    file = tmp_path / 'config.py'
    file.write_text(f'load_from = {str(trained)!r}\n')
    options = dict(cfg=Config.fromfile(file), resume=True)
    with pytest.raises(ValueError, match=r'config\.py .*epoch_1\.pth'):
        runner(tmp_path / 'new', Model(), **options).train()
    again = runner(trained.parent, Model(), epochs=2, **options)
    again.train()
    assert again.iter == 2


def test_last_checkpoint_of_another_network(trained):
    with pytest.raises(ValueError, match=r'run does not fit'):
        runner(trained.parent, Model(5), 2, resume=True).train()


def test_start_from_a_part(trained, tmp_path, capsys):
    start = dict(load_from=str(trained))
    with pytest.raises(ValueError, match='allow_partial'):
        runner(tmp_path / 'strict', Model(5), **start).train()
    partial = runner(
        tmp_path / 'partial', Model(5), 1, dict(allow_partial=True), **start
    )
    partial.train()
    assert (
        'last.weight (2, 3), not (5, 3), last.bias (2,), not (5,)'
        in capsys.readouterr().out
    )


def test_initial_weights_are_not_loaded_where_a_checkpoint_follows(trained, tmp_path):
    def model():
        return Model(init_cfg=ABSENT)

    runner(tmp_path / 'start', model(), load_from=str(trained)).train()
    runner(trained.parent, model(), 2, resume=True).train()
    with pytest.raises(FileNotFoundError, match='no/such/file'):
        runner(tmp_path / 'new', model()).train()
    with pytest.raises(FileNotFoundError, match='no/such/file'):
        runner(tmp_path / 'empty', model(), resume=True).train()


def test_base_runtime_has_it():
    cfg = Config.fromfile(ROOT / 'configs' / 'srn_r50_fpn_widerface.py')
    assert cfg.default_hooks.checkpoint_fit.type == 'CheckpointFitHook'
