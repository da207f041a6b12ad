import pytest

from mmdet_srn.evaluation.image_names import check_unique, match_end, name_images


@pytest.mark.parametrize(
    ('paths', 'names'),
    [
        ([], []),
        (['/d/e/a.jpg'], ['e/a.jpg']),
        (['/d/e/a.jpg', '/d/e/b.jpg'], ['e/a.jpg', 'e/b.jpg']),
        (['/d/e/a.jpg', '/d/f/a.jpg'], ['e/a.jpg', 'f/a.jpg']),
        (['/d/1/e/a.jpg', '/d/2/e/a.jpg'], ['1/e/a.jpg', '2/e/a.jpg']),
        (['/d/a.jpg', '/d/d/a.jpg'], ['d/a.jpg', 'd/d/a.jpg']),
        (['a.jpg', 'e/../e/b.c.jpg'], None),
    ],
)
def test_names(paths, names, tmp_path, monkeypatch):
    (tmp_path / 'here').mkdir()
    monkeypatch.chdir(tmp_path / 'here')
    assert name_images(paths) == (
        names or ['here/a.jpg', 'here/e/b.c.jpg'] * bool(paths)
    )


def test_official_names():
    paths = ['/d/1/e/a.jpg', '/d/2/e/a.jpg', '/d/2/e/b.jpg']
    assert name_images(paths, official=True) == ['e/a.jpg', 'e/a.jpg', 'e/b.jpg']


@pytest.mark.parametrize(
    ('path', 'name'),
    [
        ('/d/x/a.jpg', 'x/a.jpg'),
        ('C:\\d\\x\\a.jpg', 'x/a.jpg'),
        ('y/a.jpg', 'a.jpg'),
        ('yx/a.jpg', 'a.jpg'),
        ('a.jpg', 'a.jpg'),
        ('/d/ba.jpg', None),
    ],
)
def test_end(path, name):
    assert match_end(path, ['a.jpg', 'x/a.jpg']) == name


def test_unique():
    check_unique(['e/a', 'f/a'])
    with pytest.raises(ValueError, match='1 images came more than once, such as e/a'):
        check_unique(['e/a', 'f/a', 'e/a'])
