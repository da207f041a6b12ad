import dataclasses
import importlib.util
import json
import math

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmdet_srn.datasets.wider_face_txt_reader import read_wider_face_txt
from tests.tool_loader import load_tool

pytest.importorskip('skimage')

SMALL = dict(num_train=26, num_val=8, size=96, max_face=60)


@pytest.fixture(scope='module')
def tool():
    return load_tool('make_face_mosaic')


@pytest.fixture(scope='module')
def sources(tool):
    return tool.load_sources(tool.data_folder())


@pytest.fixture(scope='module')
def mosaic(tool, tmp_path_factory):
    out = tmp_path_factory.mktemp('mosaic') / 'out'
    assert tool.build(out, tool.Settings(**SMALL))
    return out


def _records(out, split):
    return read_wider_face_txt(out / f'wider_face_split/wider_face_{split}_bbx_gt.txt')


def _contents(out):
    files = sorted(path for path in out.rglob('*') if path.is_file())
    return {str(path.relative_to(out)): path.read_bytes() for path in files}


def test_layout(tool, mosaic):
    names = set(_contents(mosaic))
    for split, count in (('train', SMALL['num_train']), ('val', SMALL['num_val'])):
        records = _records(mosaic, split)
        assert len(records) == count
        expected = {f'WIDER_{split}/images/{record.path}' for record in records}
        assert expected == {name for name in names if name.startswith(f'WIDER_{split}')}
        events = {record.path.split('/')[0] for record in records}
        assert len(events) == min(count, len(tool.PHOTOS[split]))


@pytest.mark.parametrize('split', ['train', 'val'])
def test_images_and_boxes(mosaic, split):
    for record in _records(mosaic, split):
        image = cv2.imread(str(mosaic / f'WIDER_{split}/images' / record.path))
        assert image.shape == (96, 96, 3)
        assert image.std() > 3
        x, y, w, h = record.faces[:, :4].T
        assert (record.faces[:, :2] >= 0).all()
        assert (x + w <= 96).all() and (y + h <= 96).all()
        assert (h >= 8).all() and (h <= 60).all()
        assert (w >= 0.7 * h).all() and (w <= 1.05 * h).all()
        assert len(record.faces) <= 16  # the default --max-faces
        assert (record.faces[:, 4:] <= (2, 0, 1, 0, 2, 1)).all()


def test_annotation_has_official_rows(tool, sources, tmp_path):
    # Empty images only: each has its row of zeros.
    choice = tool.Settings(num_train=2, num_val=1, size=32, max_face=20, empty_share=1)
    tool.build(tmp_path / 'out', choice)
    text = (tmp_path / 'out/wider_face_split/wider_face_train_bbx_gt.txt').read_text()
    assert text == (
        '0--Astronaut/0_Astronaut_train_00000.jpg\n0\n0 0 0 0 0 0 0 0 0 0 \n'
        '1--Brick/1_Brick_train_00001.jpg\n0\n0 0 0 0 0 0 0 0 0 0 \n'
    )


def test_an_image_depends_on_the_seed_not_on_their_number(tool, mosaic, tmp_path):
    whole = _contents(mosaic)
    for seed in (0, 1):
        choice = tool.Settings(**SMALL | dict(num_train=5, seed=seed))
        assert tool.build(tmp_path / f'{seed}', choice)
        fewer = _contents(tmp_path / f'{seed}')
        images = [name for name in fewer if name.endswith('.jpg')]
        assert len(images) == 5 + SMALL['num_val']
        same = [fewer[name] == whole[name] for name in images]
        assert not any(same) if seed else all(same)


def test_people_and_photographs_are_disjoint(tool, sources):
    train, val = sources['train'], sources['val']
    assert (len(train.faces), len(val.faces)) == (75, 25)
    assert len(train.non_faces) + len(val.non_faces) == 100 - len(
        tool.SKIPPED_NON_FACES
    )
    assert not set(train.photos) & set(val.photos)
    # Both views of one scene, and pictures with faces or portraits.
    assert {'motorcycle_left.png', 'motorcycle_right.png'} <= set(train.photos)
    assert 'coins.png' not in train.photos | val.photos

    # No crop of val is a crop of train, mirrored or in another contrast.
    def rows(crops):
        crops = crops.reshape(len(crops), -1)
        crops = crops - crops.mean(axis=1, keepdims=True)
        return crops / np.linalg.norm(crops, axis=1, keepdims=True)

    mirrored = train.faces[:, :, ::-1]
    for faces in (train.faces, mirrored):
        assert (rows(val.faces) @ rows(faces).T).max() < 0.9


def test_sizes_cover_the_range(tool, sources):
    choice = tool.Settings(num_train=80, num_val=1)
    images = tool.make_images(sources['train'], choice, 'train')
    heights = np.array([face.box[3] for _, _, faces in images for face in faces])
    assert heights.min() < 11 and heights.max() > 140 and heights.max() <= 200
    # Log-uniform, but for large faces that find no place.
    shares = np.histogram(heights, [8, 16, 32, 64, 128, 201])[0] / len(heights)
    assert (shares > 0.1).all() and (shares < 0.35).all()


def test_occlusion(tool, sources):
    levels = set()
    for index in range(40):
        rng = np.random.default_rng(index)
        choice = tool.Settings(size=128, max_face=100)
        painter = tool.Painter(sources['train'], choice, rng)
        _, faces = painter.paint('grass.png')
        for number, face in enumerate(painter.faces, 1):
            x, y, w, h = face.box
            seen = (painter.owner[y : y + h, x : x + w] == number)[face.oval].mean()
            assert seen >= tool.MIN_VISIBLE
            expected = 0 if seen >= 0.97 else 1 if seen >= 0.7 else 2
            assert face.occlusion == expected
            levels.add(expected)
        assert sorted(face.box for face in painter.faces) == [f.box for f in faces]
    assert levels == {0, 1, 2}


@settings(max_examples=100, deadline=None)
@given(height=st.integers(4, 200), turn=st.floats(-90, 90), blur=st.integers(0, 2))
def test_box_of_a_patch_is_tight(tool, height, turn, blur):
    patch = tool.oval_patch(np.ones((25, 25), np.float32), height, turn, blur)
    assert patch.box_size[0] == height
    assert patch.image.shape == (*patch.alpha.shape, 1)
    np.testing.assert_allclose(patch.image, 1, atol=1e-5)
    # Nothing is cut off at the patch's edge.
    edge = [patch.alpha[0], patch.alpha[-1], patch.alpha[:, 0], patch.alpha[:, -1]]
    assert np.concatenate(edge).max() < 0.05
    # The box from the outline itself, in steps of a thousandth of the circle.
    angle = np.linspace(0, 2 * math.pi, 1000)
    cos, sin = math.cos(math.radians(turn)), math.sin(math.radians(turn))
    u, v = 0.8 * np.cos(angle), np.sin(angle)
    x, y = cos * u - sin * v, sin * u + cos * v
    assert patch.box_size[1] == pytest.approx(height * np.ptp(x) / np.ptp(y), abs=0.6)
    rows, columns = np.nonzero(patch.alpha >= 0.5)
    for found, size in ((rows, patch.box_size[0]), (columns, patch.box_size[1])):
        assert abs(found.min() - patch.margin) <= 1
        assert abs(found.max() + 1 - patch.margin - size) <= 1


def test_patch_shows_the_crop_turned_clockwise(tool):
    crop = np.tile(np.linspace(0, 1, 25, dtype=np.float32)[:, None], (1, 25))
    upright = tool.oval_patch(crop, 100, 0.0, 0).image[..., 0]
    middle = upright[:, upright.shape[1] // 2]
    assert middle[15] < 0.2 and middle[-15] > 0.8
    assert (np.diff(middle[10:-10]) >= 0).all()
    right = tool.oval_patch(crop, 100, 90.0, 0).image[..., 0]
    # What was above is now on the right.
    row = right[right.shape[0] // 2]
    assert row[15] > 0.8 and row[-15] < 0.2


def test_builds_once(tool, mosaic, capsys):
    before = {path: path.stat().st_mtime_ns for path in mosaic.rglob('*')}
    assert not tool.build(mosaic, tool.Settings(**SMALL))
    options = [f'--{name.replace("_", "-")}={value}' for name, value in SMALL.items()]
    assert tool.main([str(mosaic), *options]) == 0
    assert 'nothing to do' in capsys.readouterr().out
    assert {path: path.stat().st_mtime_ns for path in mosaic.rglob('*')} == before


@pytest.fixture
def tiny(tool, tmp_path):
    """A tiny mosaic that a test may spoil, and its settings."""
    choice = tool.Settings(num_train=2, num_val=2, size=32, max_face=20)
    tool.build(tmp_path / 'tiny', choice)
    return tmp_path / 'tiny', choice


def test_other_settings_need_force(tool, tiny, capsys):
    out, choice = tiny
    before = _contents(out)
    other = dataclasses.replace(choice, seed=5)
    with pytest.raises(tool.MosaicError, match=r'\(seed 0 -> 5\); --force'):
        tool.build(out, other)
    assert _contents(out) == before
    assert tool.build(out, other, force=True)
    assert json.loads((out / 'mosaic.json').read_text())['seed'] == 5
    assert _contents(out) != before
    assert [path.name for path in out.parent.iterdir()] == [out.name]


@pytest.mark.parametrize('force', [False, True])
def test_foreign_data_is_never_touched(tool, tmp_path, force):
    (tmp_path / 'mine').mkdir()
    (tmp_path / 'mine' / 'thesis.txt').write_text('precious')
    with pytest.raises(tool.MosaicError, match='was not made by this tool'):
        tool.build(tmp_path / 'mine', tool.Settings(), force)
    with pytest.raises(tool.MosaicError, match='is a file'):
        tool.build(tmp_path / 'mine' / 'thesis.txt', tool.Settings(), force)
    assert _contents(tmp_path) == {'mine/thesis.txt': b'precious'}


@pytest.mark.parametrize(
    ('spoil', 'message'),
    [
        (lambda out: next(out.glob('WIDER_val/*/*/*')).unlink(), '1 of 2 val images'),
        (
            lambda out: (out / 'wider_face_split/wider_face_val_bbx_gt.txt').unlink(),
            'wider_face_val_bbx_gt.txt is missing',
        ),
        (lambda out: (out / 'mosaic.json').write_text('{'), 'cannot be read'),
    ],
)
def test_damage_is_found(tool, tiny, spoil, message):
    out, choice = tiny
    whole = _contents(out)
    spoil(out)
    with pytest.raises(tool.MosaicError, match=message):
        tool.build(out, choice)
    assert tool.build(out, choice, force=True)
    assert _contents(out) == whole


@pytest.mark.parametrize('force', [False, True])
def test_interruption_leaves_nothing_half_done(tool, tiny, monkeypatch, force):
    out, choice = tiny
    before = _contents(out.parent)
    write_split = tool.write_split

    def interrupted(folder, source, settings, split):
        if split == 'val':
            raise KeyboardInterrupt
        write_split(folder, source, settings, split)

    monkeypatch.setattr(tool, 'write_split', interrupted)
    with pytest.raises(KeyboardInterrupt):
        tool.build(out if force else out.parent / 'new', choice, force)
    assert _contents(out.parent) == before
    assert [path.name for path in out.parent.iterdir()] == [out.name]


def test_missing_scikit_image(tool, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(importlib.util, 'find_spec', lambda name: None)
    assert tool.main([str(tmp_path / 'out')]) == 1
    assert 'pip install scikit-image' in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_missing_or_odd_material(tool, tmp_path):
    for shape, message in (
        (None, 'lfw_subset.npy is missing'),
        ((200, 24, 25), '200 crops of 25x25'),
        ((200, 25, 25), 'astronaut.png is missing'),
    ):
        if shape:
            np.save(tmp_path / 'lfw_subset.npy', np.zeros(shape))
        with pytest.raises(tool.MosaicError, match=message):
            tool.load_sources(tmp_path)


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (['--num-train=0'], 'at least 1'),
        (['--num-val=-1'], 'at least 1'),
        (['--size=31'], 'at least 32'),
        (['--seed=-1'], 'not be negative'),
        (['--min-face=3'], '4 <= --min-face'),
        (['--min-face=300'], '4 <= --min-face'),
        (['--size=64', '--min-face=60'], 'does not fit'),
        (['--max-faces=0'], 'at least 1'),
        (['--empty-share=1.5'], 'within'),
    ],
)
def test_bad_options(tool, tmp_path, capsys, options, message):
    assert tool.main([str(tmp_path / 'out'), *options]) == 1
    assert message in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
