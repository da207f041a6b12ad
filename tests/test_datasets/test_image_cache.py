import os

import pytest

from mmdet_srn.datasets.image_cache import ImageCache
from mmdet_srn.datasets.image_check import ImageFacts

FACTS = ImageFacts('', 1024, 768, 'JPEG', 'RGB', 1, '', '0123')
BROKEN = ImageFacts('OSError: bröken')


@pytest.fixture
def image(tmp_path):
    file = tmp_path / 'a.jpg'
    file.write_bytes(b'1234')
    return file


def _filled(path, image, *facts):
    """A cache file with these facts of one image and of imagined others."""
    cache = ImageCache(path)
    cache.open()
    for index, fact in enumerate(facts):
        cache.add(f'{image}{index or ""}', image.stat(), fact)
    cache.close()
    return path


def test_keeps(tmp_path, image):
    path = _filled(tmp_path / 'not/there/cache', image, FACTS, BROKEN)
    cache = ImageCache(path)
    assert (len(cache), cache.damaged) == (2, 0)
    assert cache.get(str(image), image.stat()) == FACTS
    assert cache.get(f'{image}1', image.stat()) == BROKEN
    assert cache.get(f'{image}2', image.stat()) is None


def test_goes_on_in_the_same_file(tmp_path, image):
    path = _filled(tmp_path / 'cache', image, FACTS)
    assert _filled(path, image, BROKEN) == path
    cache = ImageCache(path)
    assert cache.get(str(image), image.stat()) == BROKEN  # the later one
    assert list(tmp_path.iterdir()).count(path) == 1


def test_a_changed_file_is_unknown(tmp_path, image):
    cache = ImageCache(_filled(tmp_path / 'cache', image, FACTS))
    before = image.stat()
    os.utime(image, ns=(before.st_atime_ns, before.st_mtime_ns + 1))
    assert cache.get(str(image), image.stat()) is None
    image.write_bytes(b'12345')
    os.utime(image, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert cache.get(str(image), image.stat()) is None
    image.write_bytes(b'1234')
    os.utime(image, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert cache.get(str(image), image.stat()) == FACTS


def test_without_a_file(image):
    cache = ImageCache()
    cache.add(str(image), image.stat(), FACTS)
    assert cache.get(str(image), image.stat()) == FACTS
    cache.close()


@pytest.mark.parametrize('cut', range(1, 60, 4))
def test_a_cut_off_line_costs_that_line_only(tmp_path, image, cut):
    path = _filled(tmp_path / 'cache', image, FACTS, FACTS)
    path.write_bytes(path.read_bytes()[:-cut])
    assert ImageCache(path).damaged == 1
    _filled(path, image, BROKEN)
    cache = ImageCache(path)
    assert (len(cache), cache.damaged) == (1, 1)
    assert cache.get(str(image), image.stat()) == BROKEN


@pytest.mark.parametrize(
    'line',
    [
        b'nonsense',
        b'\xff\xfe',
        b'5',
        b'null',
        b'[]',
        b'["a", 1, 2]',
        b'[["a"], 1, 2, "", 1, 1, "", "", 1, "", ""]',
        b'["a", 1, 2, "", "wide", 1, "", "", 1, "", ""]',
        b'["a", 1, 2, "", 1, 1, "", "", 1, "", "", "more"]',
    ],
)
def test_a_line_of_nonsense_is_passed_over(tmp_path, image, line):
    path = _filled(tmp_path / 'cache', image, FACTS)
    path.write_bytes(path.read_bytes() + b'\n' + line)
    cache = ImageCache(path)
    assert (len(cache), cache.damaged) == (1, 1)
    assert cache.get(str(image), image.stat()) == FACTS


@pytest.mark.parametrize('content', [b'', b'["mmdet_sr', b'something of mine\n1\n'])
def test_another_file_is_set_aside(tmp_path, image, content):
    path = tmp_path / 'cache'
    path.write_bytes(content)
    cache = ImageCache(path)
    assert (len(cache), cache.damaged) == (0, 1 + content.count(b'\n'))
    _filled(path, image, FACTS)
    assert (tmp_path / 'cache.old').read_bytes() == content
    assert len(ImageCache(path)) == 1


def test_errors(tmp_path):
    with pytest.raises(OSError):
        ImageCache(tmp_path)  # a folder
    (tmp_path / 'file').write_bytes(b'')
    with pytest.raises(OSError):
        ImageCache(tmp_path / 'file' / 'cache').open()
