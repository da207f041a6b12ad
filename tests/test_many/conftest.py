import cv2
import pytest

from mmdet_srn import FaceDetector, weights


@pytest.fixture(scope='session')
def model() -> str:
    pytest.importorskip('onnxruntime')
    return str(weights.weights_file('.onnx'))


@pytest.fixture(scope='session')
def plain(model) -> FaceDetector:
    """What the results are compared with."""
    return FaceDetector(model)


@pytest.fixture(scope='session')
def pictures(tmp_path_factory):
    """A folder of 24 pictures of one face each, of as many sizes, and 4 broken ones."""
    astronaut = pytest.importorskip('skimage.data').astronaut()[:, :, ::-1]
    folder = tmp_path_factory.mktemp('pictures')
    (folder / 'sub').mkdir()
    for k in range(24):
        name = f'sub/{k:02}.png' if k % 2 else f'{k:02}.jpg'
        image = cv2.resize(astronaut[:240, 110:350], None, fx=1 + k / 10, fy=1 + k / 10)
        (folder / name).write_bytes(cv2.imencode(name[-4:], image)[1].tobytes())
    (folder / '02b.jpg').write_bytes((folder / '02.jpg').read_bytes()[:500])
    (folder / '06b.webp').write_bytes(b'')
    (folder / 'text.png').write_text('no picture')
    (folder / 'lost.jpg').symlink_to('nowhere')
    return folder
