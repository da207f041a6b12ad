"""convert_annotations.py: both outputs train, what is left out is printed."""

import json

import pytest
from mmdet.registry import DATASETS
from mmdet.utils import register_all_modules

from mmdet_srn.datasets.wider_face_txt_reader import read_wider_face_txt
from tests.test_datasets.test_formats import exports
from tests.tool_loader import load_tool


def convert(*arguments) -> int:
    return load_tool('convert_annotations').main([str(word) for word in arguments])


@pytest.mark.parametrize('suffix', ['.txt', '.json'])
@pytest.mark.parametrize('export', [exports.voc, exports.yolo, exports.datumaro])
def test_result_is_a_data_set(export, suffix, tmp_path):
    register_all_modules()
    source, out = export(tmp_path / 'in'), tmp_path / f'out{suffix}'
    assert convert(source, out, '--images', tmp_path / 'in') == 0
    kind = 'WIDERFaceTxtDataset' if suffix == '.txt' else 'FaceCocoDataset'
    data_set = DATASETS.build(
        dict(
            type=kind,
            ann_file=str(out),
            data_prefix=dict(img=str(tmp_path / 'in')),
            test_mode=True,
            pipeline=[],
        )
    )
    assert len(data_set) == len(exports.FACES)
    found = {}
    for n in range(len(data_set)):
        info = data_set.get_data_info(n)
        name = '/'.join(info['img_path'].rsplit('/', 2)[1:])
        found[name] = [tuple(face['bbox']) for face in info['instances']]
    assert found == exports.FACES


def test_counts_and_errors_are_printed(tmp_path, capsys):
    source = exports.csv(tmp_path)
    text = source.read_text().replace('10,20,40,60', '10,20,10,60')
    source.write_text(text)
    (tmp_path / 'a/two.jpg').unlink()
    assert convert(source, tmp_path / 'out.txt') == 0
    shown = capsys.readouterr().out
    assert 'read: 3 images, 4 faces' in shown
    assert 'out.txt: 2 images, 2 faces' in shown
    assert 'a/two.jpg' in shown
    assert 'faces.csv:2' in shown

    assert convert(source, tmp_path / 'out.txt', '--images', tmp_path / 'no') == 1
    assert '--images' in capsys.readouterr().err
    with pytest.raises(SystemExit):
        convert(source, tmp_path / 'out.xml')


def test_several_classes_are_several_categories(tmp_path, capsys):
    source = exports.csv(tmp_path)
    source.write_text(
        source.read_text().replace('two.jpg,320,200,face', 'two.jpg,320,200,mask')
    )
    assert convert(source, tmp_path / 'out.json') == 1
    assert convert(source, tmp_path / 'out.json', '--classes', 'mask', 'face') == 0
    assert "classes = ('mask', 'face')" in capsys.readouterr().out
    text = (tmp_path / 'out.json').read_text()
    assert text.count('"category_id": 1,') == 1
    assert text.count('"category_id": 2,') == 3


@pytest.mark.parametrize('row', ['', '0 0 0 0 0 0 0 0 0 0\n'])
def test_negatives_alone(tmp_path, row):
    """Scenes without a face are a set, too, and need no --classes."""
    exports.write_images(tmp_path, ['a.jpg', 'b.jpg'])
    source, out = tmp_path / 'in.txt', tmp_path / 'out.txt'
    source.write_text(f'a.jpg\n0\n{row}b.jpg\n0\n{row}')
    assert convert(source, out) == convert(source, out.with_suffix('.json')) == 0
    zeros = '0 0 0 0 0 0 0 0 0 0'
    assert out.read_text() == f'a.jpg\n0\n{zeros}\nb.jpg\n0\n{zeros}\n'
    content = json.loads(out.with_suffix('.json').read_text())
    assert [image['file_name'] for image in content['images']] == ['a.jpg', 'b.jpg']
    assert content['categories'] == [dict(id=1, name='face')]
    assert not content['annotations']


def test_split_by_name(tmp_path):
    """Each image once; without some, the others stay where they are."""

    def split(names):
        exports.write_images(tmp_path, names)
        source = tmp_path / 'all.txt'
        source.write_text(
            ''.join(f'{name}\n1\n5 5 9 9 0 0 0 0 0 0\n' for name in names)
        )
        out, val = tmp_path / 'train.txt', tmp_path / 'val.txt'
        assert convert(source, out, '--val', val, '--share', 0.3) == 0
        return [{i.path for i in read_wider_face_txt(path)} for path in (out, val)]

    names = [f'{number}.jpg' for number in range(60)]
    train, val = split(names)
    assert train | val == set(names)
    assert not train & val
    assert 8 <= len(val) <= 28  # .3 of 60, by a hash
    assert split(names[::2]) == [train & set(names[::2]), val & set(names[::2])]


@pytest.mark.parametrize(
    ('options', 'word'),
    [
        (['--val', 'here/../out.txt'], 'different files'),
        (['--val', 'val.txt', '--test', 'val.txt'], 'different files'),
        (['--val', 'val.txt', '--share', 25], 'from 0 to 1, not 25'),
        (['--val', 'val.txt', '--share', -0.1], 'from 0 to 1'),
        (['--val', 'val.txt', '--share', 'nan'], 'from 0 to 1'),
    ],
)
def test_wrong_usage(options, word, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as caught:
        convert(exports.csv(tmp_path), 'out.txt', *options)
    assert caught.value.code == 2
    assert word in capsys.readouterr().err
    assert not list(tmp_path.glob('*.txt'))


def test_folders_of_the_parts_decide(tmp_path, capsys):
    """Roboflow's: copies of a photograph stay in one part."""
    for part in ('train', 'valid', 'test'):
        exports.yolo(tmp_path / 'in' / part)
    out, val, test = (tmp_path / f'{name}.txt' for name in ('out', 'val', 'test'))

    def read(path):
        return {record.path.split('/')[0] for record in read_wider_face_txt(path)}

    assert convert(tmp_path / 'in', out, '--val', val) == 0
    shown = capsys.readouterr().out
    assert 'split by the names of folders' in shown
    assert 'left out: 3 images in test, see --test' in shown
    assert (read(out), read(val)) == ({'train'}, {'valid'})
    assert convert(tmp_path / 'in', out, '--val', val, '--test', test) == 0
    assert 'left out' not in capsys.readouterr().out
    assert read(test) == {'test'}
    with pytest.raises(SystemExit):
        convert(tmp_path / 'in', out, '--test', test)
