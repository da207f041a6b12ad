"""The page in a headless Chromium, as a visitor uses it."""

import base64
import json
import os
import shutil
import time
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from mmdet_srn import FaceDetector
from mmdet_srn.detector.web_page import at_least
from mmdet_srn.detector.writers import draw_faces
from tests.test_detector.tiny_model import make_tiny_model
from tests.test_detector.web_client import WatchedDetector, served

WAIT = 60  # seconds, on a busy machine
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
def detector(tmp_path_factory) -> WatchedDetector:
    more = "tta_model = dict(type='SRNMultiScaleTest', max_size=90)\n"
    model = make_tiny_model(tmp_path_factory.mktemp('model'), more)
    return WatchedDetector(FaceDetector(*model, device='cpu', score_thr=0.05))


@pytest.fixture(scope='module')
def address(driver, detector, tmp_path_factory):
    pytest.importorskip('gradio', reason='needs gradio (extra "web" or "dev")')
    with served(detector, tmp_path_factory.mktemp('served')) as address:
        yield address


class Page:
    """What a visitor sees and does."""

    def __init__(self, driver, address: str) -> None:
        self.driver = driver
        driver.get(address)
        self.wait(lambda: self.all('#picture input[type=file]'), 'the page')

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

    def one(self, selector: str):
        (found,) = self.all(selector)
        return found

    def text(self, selector: str) -> str:
        """Of one element; the page may replace it at any time."""
        return self.driver.execute_script(
            'return document.querySelector(arguments[0])?.innerText ?? ""', selector
        )

    def drop(self, path: Path) -> None:
        if remove := self.all('#picture button[aria-label="Clear"]'):
            remove[0].click()
            self.wait(lambda: not self.text('#status'), 'empty page')
        self.wait(lambda: self.all('#picture input[type=file]'), 'place to drop')
        self.one('#picture input[type=file]').send_keys(str(path))

    def status(self, part: str) -> str:
        self.wait(lambda: part in self.text('#status'), repr(part))
        return self.text('#status')

    def pixels(self) -> np.ndarray:
        """The picture as the browser has decoded it, (H, W, 3) in BGR."""
        image = self.driver.execute_async_script(
            """
            const done = arguments[0], image = document.querySelector('#drawn img');
            image.decode().then(() => {
              const canvas = document.createElement('canvas');
              [canvas.width, canvas.height] = [image.naturalWidth, image.naturalHeight];
              canvas.getContext('2d').drawImage(image, 0, 0);
              done(canvas.toDataURL('image/png'));
            });
            """
        )
        content = np.frombuffer(base64.b64decode(image.split(',')[1]), np.uint8)
        return cv2.imdecode(content, cv2.IMREAD_COLOR)

    def table(self) -> list[list[float]]:
        return self.driver.execute_script(
            """
            return [...document.querySelectorAll('#boxes [role=row][data-index]')].map(
              row => [...row.querySelectorAll('[role=gridcell]')].map(c => +c.innerText)
            );
            """
        )


def as_jpeg(image: np.ndarray) -> np.ndarray:
    return cv2.imdecode(cv2.imencode('.jpg', image)[1], cv2.IMREAD_COLOR)


def difference(first: np.ndarray, second: np.ndarray) -> float:
    return float(np.abs(first.astype(float) - second).mean())


@pytest.fixture
def page(driver, address) -> Page:
    return Page(driver, address)


@pytest.fixture
def photo(tmp_path, detector, make_image) -> SimpleNamespace:
    """A picture, its file, and what is found on it."""
    path = tmp_path / 'my photo.png'
    image = make_image()
    cv2.imwrite(str(path), image)
    found = detector.detector.detect(image)
    return SimpleNamespace(path=path, image=image, found=found)


def test_picture_boxes_and_downloads(page, photo, detector, address, driver):
    page.drop(photo.path)
    faces = at_least(photo.found, 0.5)
    assert 0 < len(faces) < len(photo.found)
    status = page.status(f'{len(faces)} faces with a score of 0.50 or more in my photo')
    assert '96 × 64 pixels; detected in' in status
    page.wait(lambda: page.all('#drawn img'), 'picture')
    wanted = as_jpeg(draw_faces(photo.image, faces))
    assert difference(wanted, as_jpeg(photo.image)) > 10
    assert difference(wanted, page.pixels()) < 2
    rows = page.wait(page.table, 'rows')
    wanted = np.column_stack((faces.scores, faces.bboxes))
    np.testing.assert_allclose(
        np.array(rows)[:, 1:], wanted[: len(rows)], atol=0.051, rtol=0
    )
    names = ('my photo_faces.jpg', 'faces.jsonl', 'faces.csv')
    for button, name in zip(('Picture', 'JSON', 'CSV'), names, strict=True):
        page.one(f'#{button}').click()
        page.wait((driver.downloads / name).is_file, name)
    record = json.loads((driver.downloads / 'faces.jsonl').read_text())
    assert record['image'] == 'my photo.png'
    np.testing.assert_array_equal(np.float32(record['bboxes']), faces.bboxes)
    page.one('#multi-scale input').click()
    page.status('multi-scale test')
    assert [multi_scale for multi_scale, _ in detector.calls] == [False, True]
    # Nothing is fetched from elsewhere.
    messages = [json.loads(row['message']) for row in driver.get_log('performance')]
    asked = {
        message['message']['params']['request']['url']
        for message in messages
        if message['message']['method'] == 'Network.requestWillBeSent'
    }
    assert sum(url.startswith(f'{address}/') for url in asked) > 10
    others = [url for url in asked if not url.startswith((address, 'data:', 'blob:'))]
    assert others == []


def test_slider_filters_without_the_network(page, photo, detector):
    page.drop(photo.path)
    page.status('0.50 or more')
    calls = len(detector.calls)
    slider = page.one('#threshold input[type=range]')
    keys = pytest.importorskip('selenium.webdriver.common.keys').Keys
    for _ in range(5):
        slider.send_keys(keys.ARROW_LEFT)
    number = len(at_least(photo.found, 0.45))
    assert number > len(at_least(photo.found, 0.5))
    page.status(f'{number} faces with a score of 0.45 or more')
    slider.send_keys(keys.END)
    page.status('0 faces with a score of 1.00 or more')
    page.wait(lambda: not page.table(), 'empty table')
    assert difference(page.pixels(), as_jpeg(photo.image)) < 2
    assert len(detector.calls) == calls


def test_no_picture(page, photo, tmp_path):
    """An error, nothing of the picture before, and the next one works."""
    notes = tmp_path / 'notes.txt'
    notes.write_text('no picture')
    page.drop(photo.path)
    page.status('detected in')
    page.drop(notes)
    page.status('notes.txt is no picture, or a damaged one')
    assert page.one('#status .error').is_displayed()
    assert not page.all('#drawn img') and not page.table()
    page.drop(photo.path)
    page.status('detected in')
    page.wait(lambda: page.all('#drawn img'), 'picture')
