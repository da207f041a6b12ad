"""mim train, test, run and search, really run.

Which mim that is depends on the environment: onedl-mim with the onedl stack, openmim
with open-mmlab's (tools/misc/check_openmim.sh). On the wheel: makes a mosaic of a few
images, trains one epoch of srn_r18_face_mosaic on it, tests, and looks for faces in two
images. On an editable installation: a light tool, and tests/test_distributed.py trains.
"""

import json
import re
from pathlib import Path
from types import SimpleNamespace

import pytest
from PIL import Image

from tests.test_install.environment import clean_sources, editable, installed_wheel

CONFIG = 'srn_r18_face_mosaic.py'


def mim_in(environment, folder):
    """Return what runs mim in a working folder and gives its output."""

    def mim(*arguments):
        result = environment.run('-m', 'mim', *arguments, cwd=folder)
        return re.sub(r'\x1b\[[0-9;]*m', '', result.stdout)

    return mim


def test_run_finds_the_tools_of_an_editable_installation(tmp_path):
    (tmp_path / 'faces.txt').write_text('a.jpg\n1\n10 20 30 40 0 0 0 0 0 0\n')
    Image.new('RGB', (64, 96)).save(tmp_path / 'a.jpg')
    mim_in(editable(), tmp_path)(
        *('run', '-y', 'mmdet_srn', 'convert_annotations', 'faces.txt', 'train.txt'),
    )
    assert (tmp_path / 'train.txt').read_text().startswith('a.jpg\n1\n10 20')


@pytest.fixture(scope='module')
def cell(tmp_path_factory):
    """The wheel, a working folder outside of the clone, and data in it."""
    folder = tmp_path_factory.mktemp('mim')
    mim = mim_in(installed_wheel(), folder)
    mim(
        *('run', '-y', 'mmdet_srn', 'make_face_mosaic', 'mosaic'),
        *('--num-train', '3', '--num-val', '2', '--size', '128'),
        *('--max-face', '100', '--seed', '1'),
    )
    assert len(list(folder.glob('mosaic/WIDER_train/images/*/*.jpg'))) == 3
    loaders = ('train_dataloader', 'val_dataloader', 'test_dataloader')
    options = [
        'log_level=INFO',
        'train_dataloader.batch_size=2',
        *(f'{loader}.dataset.data_root=mosaic/' for loader in loaders),
        *(f'{loader}.num_workers=0' for loader in loaders),
    ]
    return SimpleNamespace(folder=folder, mim=mim, options=options)


@pytest.fixture(scope='module')
def trained(cell):
    """What `mim train` printed for one epoch of two iterations."""
    # The config by its name only: mim has to find it in the installation.
    return cell.mim(
        *('train', 'mmdet_srn', CONFIG, '--gpus', '0', '--work-dir', 'run'),
        *('--cfg-options', 'train_cfg.max_epochs=1', 'train_cfg.val_interval=1'),
        *cell.options,
    )


def test_train(cell, trained):
    assert 'Training finished successfully' in trained
    assert (cell.folder / 'run/epoch_1.pth').is_file()
    assert re.search(r'Epoch\(val\) \[1\]\[2/2\]', trained)

    script = re.search(r'Training command is \S+ (\S+) (\S+)', trained)
    assert script is not None
    installed = installed_wheel().site_packages.resolve()
    assert all(installed in Path(path).resolve().parents for path in script.groups())


def test_test(cell, trained):
    output = cell.mim(
        *('test', 'mmdet-srn', CONFIG, '--gpus', '0', '--work-dir', 'tested'),
        *('--checkpoint', 'run/epoch_1.pth', '--out', 'detections.pkl'),
        *('--cfg-options', *cell.options),
    )
    assert 'Testing finished successfully' in output
    assert re.search(r'Epoch\(test\) \[2/2\]', output)
    assert (cell.folder / 'detections.pkl').is_file()


def test_detect(cell, trained):
    images = cell.folder / 'mosaic/WIDER_val/images'
    output = cell.mim(
        *('run', '-y', 'mmdet_srn', 'detect', str(images), '--config', CONFIG),
        *('--checkpoint', 'run/epoch_1.pth', '--device', 'cpu'),
    )
    assert re.search(
        r'^2 images, \d+ faces; written to detections$', output, re.MULTILINE
    )
    results = cell.folder / 'detections/faces.jsonl'
    records = [json.loads(line) for line in results.read_text().splitlines()]
    found = {Path(record['image']) for record in records}
    assert found == set(images.glob('*/*.jpg')) and len(records) == 2
    for path in images.glob('*/*.jpg'):
        name = path.relative_to(images).with_name(f'{path.stem}_faces.jpg')
        assert (cell.folder / 'detections' / name).is_file()


def test_search_lists_the_models(cell):
    output = cell.mim('search', 'mmdet_srn', '--valid-config')
    named = re.findall(r"'(\w+)'", output)
    # model-index.yml has the shipped configs, each once.
    assert sorted(named) == sorted(
        path.stem for path in (clean_sources() / 'configs').glob('*.py')
    )
