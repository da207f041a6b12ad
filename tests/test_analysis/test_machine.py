import pytest
import torch

from mmdet_srn.analysis.machine import check_device, describe_machine


def test_names_what_figures_depend_on():
    text = describe_machine('cpu')
    assert f'torch {torch.__version__}' in text
    assert f'{torch.get_num_threads()} threads' in text
    assert len(text.split(', ')[0]) > 2


def test_devices():
    check_device('cpu')
    for device in ('cuda:99', 'abacus'):
        with pytest.raises(ValueError, match=f'{device}.* cannot be used'):
            check_device(device)
