import numpy as np
import pytest

from mmdet_srn.detector.hiding import CELLS, STYLES, Hiding


def noise(height: int = 90, width: int = 120, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.integers(1, 256, (height, width, 3), dtype=np.uint8)


@pytest.mark.parametrize('style', STYLES)
@pytest.mark.parametrize('margin', [0, 0.5])
def test_boxes_and_their_margin_are_hidden_and_nothing_else(style, margin):
    image = noise()
    before = image.copy()
    hidden = Hiding(style, margin)(image, np.float32([[40.5, 30, 60, 55.2]]))
    np.testing.assert_array_equal(image, before)
    added = margin * 25.2  # of the longer side
    x1, y1 = int(np.floor(40.5 - added)), int(np.floor(30 - added))
    x2, y2 = int(np.ceil(60 + added)), int(np.ceil(55.2 + added))
    inside = np.zeros(image.shape[:2], bool)
    inside[y1:y2, x1:x2] = True
    np.testing.assert_array_equal(hidden[~inside], image[~inside])
    assert (hidden[inside] != image[inside]).any(axis=1).mean() > 0.95
    if style == 'box':
        assert not hidden[inside].any()


@pytest.mark.parametrize('style', ['blur', 'mosaic'])
@pytest.mark.parametrize('cell', [4, 20, 60])
def test_only_the_means_of_cells_are_left(style, cell):
    """However large a face is: one that shares them looks the same."""
    side = CELLS * cell
    face = noise(side, side)
    cells = face.reshape(CELLS, cell, CELLS, cell, 3).mean(axis=(1, 3), keepdims=True)
    other = np.broadcast_to(np.rint(cells), (CELLS, cell, CELLS, cell, 3))
    other = other.reshape(face.shape).astype(np.uint8)
    hide = Hiding(style, margin=0)
    box = np.float32([[0, 0, side, side]])
    hidden = [hide(image, box).astype(int) for image in (face, other)]
    assert np.abs(hidden[0] - hidden[1]).max() <= 1
    if style == 'mosaic':
        assert len(np.unique(hidden[0].reshape(-1, 3), axis=0)) <= CELLS**2


@pytest.mark.parametrize('style', ['blur', 'mosaic'])
def test_a_tiny_face_is_not_left_as_it_is(style):
    image = noise()
    hidden = Hiding(style, margin=0)(image, np.float32([[10, 10, 16, 16]]))
    area = hidden[10:16, 10:16].astype(float)
    assert area.std(axis=(0, 1)).max() < 1


def test_ellipse():
    image = noise()
    hide = Hiding('box', margin=0, ellipse=True)
    hidden = hide(image, np.float32([[20, 10, 60, 70]]))
    y, x = np.mgrid[:90, :120] + 0.5
    inside = ((x - 40) / 20) ** 2 + ((y - 40) / 30) ** 2 <= 1
    np.testing.assert_array_equal(hidden[~inside], image[~inside])
    assert not hidden[inside].any()
    # Half a face at the edge has its middle there.
    hidden = hide(image, np.float32([[0, 10, 20, 70]]))
    assert not hidden[10:70, :20].any()


@pytest.mark.parametrize('style', STYLES)
def test_boxes_beyond_the_image_and_none(style):
    image = noise(9, 9)
    boxes = np.float32(
        [[-5, -5, 2, 3], [20, 20, 30, 30], [4, 4, 4, 4], [-9, 7, 99, 99]]
    )
    hidden = Hiding(style, margin=0)(image, np.float32(boxes))
    np.testing.assert_array_equal(hidden[3:7], image[3:7])
    assert (hidden[:3, :2] != image[:3, :2]).any()
    assert (hidden[7:] != image[7:]).any()
    nothing = Hiding(style)(image, np.zeros((0, 4), np.float32))
    np.testing.assert_array_equal(nothing, image)


def test_wrong_arguments():
    with pytest.raises(ValueError, match='blur, mosaic, box'):
        Hiding('pixels')
    for margin in (-0.1, float('nan'), float('inf')):
        with pytest.raises(ValueError, match='margin'):
            Hiding('blur', margin)
