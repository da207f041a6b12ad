"""Images of one name in two folders, through a whole test."""

import shutil

import pytest
from mmengine.runner import Runner

from tests.training import small_config, write_data_set

NAME = 'srn_r50_fpn_widerface'


@pytest.fixture
def cfg(tmp_path):
    """Two images of one name in two folders."""
    root = write_data_set(tmp_path / 'data', [1], num_val=1)
    images = root / 'WIDER_val/images'
    annotation = root / 'wider_face_split/wider_face_val_bbx_gt.txt'
    text = annotation.read_text()
    for year in ('2024', '2025'):
        shutil.copytree(images / '0--Noise', images / year / 'party')
    annotation.write_text(
        ''.join(text.replace('0--Noise', f'{year}/party') for year in ('2024', '2025'))
    )
    cfg = small_config(NAME, root, tmp_path / 'run')
    cfg.model.test_cfg.score_thr = 0.5
    return cfg


def test_a_folder_alone_draws_nothing(cfg, tmp_path):
    cfg.default_hooks.visualization.test_out_dir = 'drawn'
    Runner.from_cfg(cfg).test()
    assert not list(tmp_path.rglob('drawn'))


def test_drawn_images_keep_their_folders(cfg, tmp_path):
    cfg.default_hooks.visualization.update(draw=True, test_out_dir='drawn')
    cfg.test_evaluator.outfile_prefix = str(tmp_path / 'out')
    Runner.from_cfg(cfg).test()
    drawn = [path.relative_to(tmp_path) for path in tmp_path.rglob('drawn/**/*.png')]
    names = sorted('/'.join(path.parts[-3:]) for path in drawn)
    assert names == ['2024/party/0.png', '2025/party/0.png']
    assert (tmp_path / 'out/2025/party/0.txt').is_file()
