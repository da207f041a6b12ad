import os

import cv2
import numpy as np
import pytest

from mmdet_srn.datasets import image_check
from mmdet_srn.datasets.image_cache import ImageCache
from mmdet_srn.datasets.image_check import check_image
from mmdet_srn.datasets.image_scan import BATCH, scan_images

NUMBER = 2 * BATCH + 3


@pytest.fixture
def images(tmp_path):
    paths = []
    for index in range(NUMBER):
        paths.append(str(tmp_path / f'{index}.jpg'))
        cv2.imwrite(paths[-1], np.full((8, 8 + index, 3), 99, np.uint8))
    return paths


@pytest.fixture
def calls(tmp_path, monkeypatch):
    """Which images were decoded, by whichever process."""
    log = tmp_path / 'log'
    log.touch()

    def check_and_log(path):
        with log.open('a') as file:
            file.write(f'{path}\n')
        return check_image(path)

    monkeypatch.setattr(image_check, 'check_image', check_and_log)

    def read():
        lines = log.read_text().split()
        log.write_text('')
        return sorted(lines)

    return read


def test_a_pipe_is_not_waited_for(tmp_path):
    path = str(tmp_path / 'pipe.jpg')
    os.mkfifo(path)
    assert 'pipe' in scan_images([path], ImageCache(), 1)[path].error


@pytest.mark.parametrize('workers', [1, 2, 5])
def test_all_images(images, workers):
    done = []
    facts = scan_images(images, ImageCache(), workers, done.append)
    assert facts == {path: check_image(path) for path in images}
    assert sum(done) == NUMBER


def test_only_what_is_not_known(images, calls, tmp_path):
    for number in (5, NUMBER, NUMBER):
        cache = ImageCache(tmp_path / 'cache')
        known = len(cache)
        cache.open()
        done = []
        facts = scan_images(images[:number], cache, 2, done.append)
        cache.close()
        assert facts == {path: check_image(path) for path in images[:number]}
        assert calls() == sorted(images[known:number])
        assert sum(done) == number


def test_files_that_are_not_there(images, tmp_path):
    paths = [images[0], str(tmp_path / 'no.jpg'), f'{images[0]}/no.jpg', images[0]]
    done = []
    assert list(scan_images(paths, ImageCache(), 2, done.append)) == [images[0]]
    assert sum(done) == 3
    loop = tmp_path / 'loop.jpg'
    loop.symlink_to(loop)
    assert scan_images([str(loop)], ImageCache(), 1)[str(loop)].error.startswith(
        'cannot be read: '
    )
    assert scan_images([], ImageCache(), 2) == {}


def test_an_interruption_keeps_what_is_done(images, calls, tmp_path):
    cache = ImageCache(tmp_path / 'cache')
    cache.open()

    def interrupt(_):
        if len(cache) == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        scan_images(images, cache, 1, interrupt)
    assert len(calls()) < NUMBER  # the rest was called off
    cache = ImageCache(tmp_path / 'cache')
    assert len(cache) == 3
    assert len(scan_images(images, cache, 1)) == NUMBER
    assert len(calls()) == NUMBER - 3


def test_a_process_that_dies(images, monkeypatch):
    def die(path):
        if path == images[7]:
            os._exit(1)
        return check_image(path)

    monkeypatch.setattr(image_check, 'check_image', die)
    cache = ImageCache()
    with pytest.raises(RuntimeError, match=r'/7\.jpg'):
        scan_images(images, cache, 1)
    assert len(cache) == 7
