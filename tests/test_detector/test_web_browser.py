"""The page in a headless Chromium, as a visitor uses it."""

import json
import os
import shutil
import time
from pathlib import Path
from unittest import mock

import cv2
import numpy as np
import pytest

from mmdet_srn import FaceDetector
from mmdet_srn.detector.web_page import WebPage

WAIT = 120  # seconds, on a busy machine
CHROMIUM = ('chromium', 'chromium-browser', 'google-chrome')


@pytest.fixture(scope='module')
def driver(tmp_path_factory):
    """A Chromium that finds no host but this one; nothing is downloaded for it."""
    needed = 'needs {}: apt-get install chromium chromium-driver'
    webdriver = pytest.importorskip(
        'selenium.webdriver', reason='needs selenium (extra "dev")'
    )
    chromium = next(filter(None, map(shutil.which, CHROMIUM)), None)
    chromedriver = shutil.which('chromedriver')
    if chromium is None:
        pytest.skip(needed.format('Chromium'))
    if chromedriver is None:
        pytest.skip(needed.format('chromedriver'))
    home = tmp_path_factory.mktemp('home')
    folder = home / 'got'  # not home itself, which Chromium thinks dangerous
    folder.mkdir()
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for argument in (
        *('--headless=new', '--disable-dev-shm-usage', '--window-size=1280,1000'),
        '--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1',
        *(['--no-sandbox'] if os.geteuid() == 0 else []),
    ):
        options.add_argument(argument)
    downloads = {
        'download.default_directory': str(folder),
        'download.prompt_for_download': False,
    }
    options.add_experimental_option('prefs', downloads)
    options.set_capability('goog:loggingPrefs', {'performance': 'ALL'})
    service = webdriver.ChromeService(
        chromedriver, env={**os.environ, 'HOME': str(home)}
    )
    driver = webdriver.Chrome(options, service)
    driver.downloads = folder
    yield driver
    driver.quit()


@pytest.fixture(scope='module')
def detector(tiny_multi_scale) -> FaceDetector:
    return FaceDetector(*tiny_multi_scale, device='cpu', score_thr=0.05)


@pytest.fixture(scope='module')
def address(driver, detector, tmp_path_factory):
    pytest.importorskip('gradio', reason='needs gradio (extra "web" or "dev")')
    page = WebPage(detector, tmp_path_factory.mktemp('served'), 'tiny')
    with page.serve() as address:
        yield address


@pytest.fixture
def visitor(driver, address) -> 'Visitor':
    return Visitor(driver, address)


class Visitor:
    """What a visitor sees and does."""

    def __init__(self, driver, address: str) -> None:
        self.driver = driver
        driver.get(address)

    def wait(self, condition, what: str):
        end = time.monotonic() + WAIT
        while not (found := condition()):
            if time.monotonic() > end:
                seen = self.driver.find_element('tag name', 'body').text
                raise AssertionError(f'no {what} after {WAIT} s; seen:\n{seen}')
            time.sleep(0.05)
        return found

    def all(self, selector: str):
        return self.driver.find_elements('css selector', selector)

    def drop(self, path: Path) -> None:
        place = '#picture input[type=file]'
        self.wait(lambda: self.all(place), 'place to drop')[0].send_keys(str(path))

    def text(self, selector: str) -> str:
        """Of one element; the page may replace it at any time."""
        return self.driver.execute_script(
            'return document.querySelector(arguments[0])?.innerText ?? ""', selector
        )

    def sees(self, part: str) -> str:
        self.wait(lambda: part in self.text('#status'), repr(part))
        return self.text('#status')

    def scores(self) -> list[float]:
        """The column of the table, as far as it is in view."""
        return self.driver.execute_script(
            """
            const rows = document.querySelectorAll('#boxes [role=row][data-index]');
            return [...rows].map(
              row => +[...row.querySelectorAll('[role=gridcell]')].at(-5).innerText
            );
            """
        )


def test_faces_and_files(visitor, photo, detector, address, driver):
    scores = detector.detect(photo).scores
    scores = scores[scores >= 0.5]
    visitor.drop(photo)
    status = visitor.sees(f'{len(scores)} faces with a score of 0.50 or more')
    assert 'my photo.png, 96 × 64 pixels; detected in' in status
    visitor.wait(lambda: visitor.all('#drawn img'), 'picture')
    seen = visitor.wait(visitor.scores, 'rows')
    np.testing.assert_allclose(seen, scores[: len(seen)], atol=5.1e-4)
    names = ('my photo_faces.jpg', 'faces.jsonl', 'faces.csv')
    links = visitor.wait(lambda: visitor.all('#results a'), 'results')
    for link, name in zip(links, names, strict=True):
        link.click()
        visitor.wait((driver.downloads / name).is_file, name)
    visitor.all('#multi-scale input')[0].click()
    visitor.sees('multi-scale test')
    # Nothing is fetched from elsewhere.
    messages = [json.loads(row['message']) for row in driver.get_log('performance')]
    asked = {
        message['message']['params']['request']['url']
        for message in messages
        if message['message']['method'] == 'Network.requestWillBeSent'
    }
    assert sum(url.startswith(address) for url in asked) > 10
    assert [u for u in asked if not u.startswith((address, 'data:', 'blob:'))] == []


def test_no_picture_then_one(visitor, photo):
    notes = photo.with_name('notes.txt')
    notes.write_text('no picture')
    visitor.drop(notes)
    assert 'notes.txt: the file is no image' in visitor.sees('notes.txt')
    assert not visitor.all('#drawn img')
    visitor.all('#picture button[aria-label="Clear"]')[0].click()
    visitor.wait(lambda: not visitor.text('#status'), 'empty page')
    visitor.drop(photo)
    visitor.sees('detected in')
    visitor.wait(lambda: visitor.all('#drawn img'), 'picture')


def test_slider_does_not_run_the_network(visitor, tmp_path, make_image, detector):
    path = tmp_path / 'another.png'
    cv2.imwrite(str(path), make_image(1))
    scores = detector.detect(path).scores
    keys = pytest.importorskip('selenium.webdriver.common.keys').Keys
    with mock.patch.object(detector, 'detect', wraps=detector.detect) as detect:
        visitor.drop(path)
        visitor.sees('0.50 or more')
        slider = visitor.all('#threshold input[type=range]')[0]
        for _ in range(5):
            slider.send_keys(keys.ARROW_LEFT)
        visitor.sees(f'{(scores >= 0.45).sum()} faces with a score of 0.45 or more')
        slider.send_keys(keys.END)
        visitor.sees('0 faces with a score of 1.00 or more')
        visitor.wait(lambda: not visitor.scores(), 'empty table')
    assert detect.call_count == 1
