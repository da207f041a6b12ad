"""mim train, test, run and search, really run, on both kinds of installation.

Which mim that is depends on the environment: onedl-mim with the onedl stack, openmim
with open-mmlab's (tools/misc/check_openmim.sh). Each cell makes a mosaic of a few
images, trains one epoch of srn_r18_face_mosaic on it, resumes for a second one, tests,
and looks for faces in two images.
"""

import json
import re
from pathlib import Path
from types import SimpleNamespace

import pytest

CONFIG = 'srn_r18_face_mosaic.py'


@pytest.fixture(scope='module', params=['editable', 'wheel'])
def cell(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> SimpleNamespace:
    """An installation, a working folder outside of the clone, and data in it."""
    environment = request.getfixturevalue(f'{request.param}_environment')
    folder = tmp_path_factory.mktemp(f'mim_{request.param}')

    def mim(*arguments: str, check: bool = True) -> str:
        result = environment.run('-m', 'mim', *arguments, cwd=folder, check=check)
        return re.sub(r'\x1b\[[0-9;]*m', '', result.stdout)

    mim(
        *('run', '-y', 'mmdet_srn', 'make_face_mosaic', 'mosaic'),
        *('--num-train', '3', '--num-val', '2', '--size', '128'),
        *('--max-face', '100', '--seed', '1'),
    )
    loaders = ('train_dataloader', 'val_dataloader', 'test_dataloader')
    options = [
        'log_level=INFO',
        'train_dataloader.batch_size=2',
        *(f'{loader}.dataset.data_root=mosaic/' for loader in loaders),
        *(f'{loader}.num_workers=0' for loader in loaders),
    ]
    return SimpleNamespace(
        kind=request.param,
        environment=environment,
        folder=folder,
        mim=mim,
        options=options,
    )


@pytest.fixture(scope='module')
def trained(cell: SimpleNamespace) -> str:
    """What `mim train` printed for one epoch of two iterations."""
    # The config by its name only: mim has to find it in the installation.
    return cell.mim(
        *('train', 'mmdet_srn', CONFIG, '--gpus', '0', '--work-dir', 'run'),
        *('--cfg-options', 'train_cfg.max_epochs=1', 'train_cfg.val_interval=1'),
        *cell.options,
    )


def test_run_finds_the_tool(cell: SimpleNamespace) -> None:
    annotation = cell.folder / 'mosaic/wider_face_split/wider_face_train_bbx_gt.txt'
    images = list((cell.folder / 'mosaic/WIDER_train/images').glob('*/*.jpg'))
    assert annotation.is_file()
    assert len(images) == 3


def test_train(cell: SimpleNamespace, trained: str, sources: Path) -> None:
    assert 'Training finished successfully' in trained
    assert (cell.folder / 'run/epoch_1.pth').is_file()
    assert re.search(r'Epoch\(val\) \[1\]\[2/2\]', trained)

    script = re.search(r'Training command is \S+ (\S+) (\S+)', trained)
    assert script is not None
    used = [Path(path) for path in script.groups()]
    if cell.kind == 'editable':
        # The clone itself, no copy of it that goes stale.
        expected = [sources / 'tools/train.py', sources / 'configs' / CONFIG]
        assert [path.resolve() for path in used] == [
            path.resolve() for path in expected
        ]
    else:
        installed = cell.environment.site_packages.resolve()
        assert all(installed in path.resolve().parents for path in used)


def test_resume_continues(cell: SimpleNamespace, trained: str) -> None:
    output = cell.mim(
        *('train', 'mmdet-srn', CONFIG, '--gpus', '0', '--work-dir', 'run'),
        *('--resume', '--cfg-options', 'train_cfg.max_epochs=2', *cell.options),
    )
    assert 'resumed epoch: 1, iter: 2' in output
    assert 'Epoch(train) [1]' not in output
    assert (cell.folder / 'run/epoch_2.pth').is_file()


def test_test(cell: SimpleNamespace, trained: str) -> None:
    output = cell.mim(
        *('test', 'mmdet_srn', CONFIG, '--gpus', '0', '--work-dir', 'tested'),
        *('--checkpoint', 'run/epoch_1.pth', '--out', 'detections.pkl'),
        *('--cfg-options', *cell.options),
    )
    assert 'Testing finished successfully' in output
    assert re.search(r'Epoch\(test\) \[2/2\]', output)
    assert (cell.folder / 'detections.pkl').is_file()


def test_detect(cell: SimpleNamespace, trained: str) -> None:
    images = cell.folder / 'mosaic/WIDER_val/images'
    output = cell.mim(
        *('run', '-y', 'mmdet_srn', 'detect', str(images), '--config', CONFIG),
        *('--checkpoint', 'run/epoch_1.pth', '--device', 'cpu'),
    )
    assert re.search(r'^2 images, \d+ faces: detections$', output, re.MULTILINE)
    results = cell.folder / 'detections/faces.jsonl'
    records = [json.loads(line) for line in results.read_text().splitlines()]
    found = {Path(record['image']) for record in records}
    assert found == set(images.glob('*/*.jpg')) and len(records) == 2
    for path in images.glob('*/*.jpg'):
        name = path.relative_to(images).with_name(f'{path.stem}_faces.jpg')
        assert (cell.folder / 'detections' / name).is_file()


def test_search_lists_the_models(cell: SimpleNamespace, sources: Path) -> None:
    output = cell.mim('search', 'mmdet_srn', '--valid-config')
    named = re.findall(r"'(\w+)'", output)
    # model-index.yml has the shipped configs, each once.
    assert sorted(named) == sorted(
        path.stem for path in (sources / 'configs').glob('*.py')
    )
