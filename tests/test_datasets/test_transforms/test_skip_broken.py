"""Training goes on without files that cannot be read, if it is told to."""

import pytest
from mmdet.registry import DATASETS
from mmdet.utils import register_all_modules
from mmengine.logging import MMLogger
from torch.utils.data import DataLoader

from tests.test_datasets.test_formats import exports
from tests.tool_loader import load_tool

NAMES = ('1.jpg', '2.jpg', '3.jpg', '4.jpg')
BROKEN = {'2.jpg': b'', '3.jpg': b'no image', '4.jpg': None}


@pytest.fixture
def folder(tmp_path):
    exports.write_images(tmp_path, NAMES)
    rows = ['filename,xmin,ymin,xmax,ymax', *(f'{name},9,9,90,90' for name in NAMES)]
    (tmp_path / 'faces.csv').write_text('\n'.join(rows))
    for suffix in ('txt', 'json'):
        convert = load_tool('convert_annotations').main
        assert convert([str(tmp_path / f'faces.{s}') for s in ('csv', suffix)]) == 0
    for name, content in BROKEN.items():
        (tmp_path / name).unlink()
        if content is not None:
            (tmp_path / name).write_bytes(content)
    return tmp_path


@pytest.fixture
def log(tmp_path):
    """The file of the current logger, also of other processes."""
    path = tmp_path / 'run.log'
    MMLogger.get_instance(str(path), log_file=str(path))
    return path


def _build(kind, folder, loader='LoadSquareCrop', skip=True, **options):
    register_all_modules()
    load = dict(type=loader, size=32, skip_broken=skip)
    return DATASETS.build(
        dict(
            type=kind,
            ann_file=str(folder / f'faces.{"txt" if "Txt" in kind else "json"}'),
            data_prefix=dict(img=str(folder)),
            metainfo=dict(classes=('face',)),
            pipeline=[dict(type='LoadAnnotations', with_bbox=True), load],
            **options,
        )
    )


KINDS = ('WIDERFaceTxtDataset', 'FaceCocoDataset', 'CocoDataset')


@pytest.mark.parametrize('kind', KINDS)
@pytest.mark.parametrize('loader', ['LoadSquareCrop', 'LoadDataAnchorCrop'])
def test_other_images_take_their_place(kind, loader, folder, log):
    dataset = _build(kind, folder, loader)
    for _ in range(2):  # each is named once
        paths = {dataset[n]['img_path'] for n in range(len(dataset))}
        assert paths == {str(folder / '1.jpg')}
    lines = [
        line for line in log.read_text().split('\n') if 'left out a broken' in line
    ]
    assert len(lines) == 3
    for name in BROKEN:
        assert sum(str(folder / name) in line for line in lines) == 1
    for number, line in enumerate(lines, 1):
        assert f'number {number} of this process' in line


@pytest.mark.parametrize('kind', KINDS[:2])
@pytest.mark.parametrize(
    ('index', 'kind_of_error'), [(1, RuntimeError), (3, FileNotFoundError)]
)
def test_an_error_by_default(kind, index, kind_of_error, folder):
    dataset = _build(kind, folder, skip=False)
    with pytest.raises(kind_of_error, match=NAMES[index]):
        dataset[index]


def test_in_worker_processes(folder, log):
    dataset = _build(KINDS[0], folder)
    loader = DataLoader(dataset, batch_size=None, num_workers=1)
    assert len([item['img_path'] for item in loader]) == 4
    assert 'number 1 of this process' in log.read_text()


@pytest.mark.parametrize('kind', KINDS)
def test_none_left_is_an_error(kind, folder, log):
    (folder / '1.jpg').write_bytes(b'no image')
    with pytest.raises(Exception, match='Cannot find valid image'):
        _build(kind, folder)[0]
    assert log.read_text().count('left out a broken') == 4


@pytest.mark.parametrize('kind', KINDS)
def test_a_test_does_not_go_on(kind, folder, log):
    dataset = _build(kind, folder, test_mode=True)
    dataset[0]
    with pytest.raises(Exception, match='None'):
        dataset[1]
    assert str(folder / '2.jpg') in log.read_text()
