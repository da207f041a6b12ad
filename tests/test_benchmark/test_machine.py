import torch

from mmdet_srn.benchmark.machine import describe_machine


def test_names_what_figures_depend_on():
    text = describe_machine('cpu')
    assert f'torch {torch.__version__}' in text
    assert f'{torch.get_num_threads()} threads' in text
    assert len(text.split(', ')[0]) > 2
