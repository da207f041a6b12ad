"""What is left out, and boxes of images that an EXIF tag turns."""

import cv2
import numpy as np
import pytest
from PIL import ExifTags, Image

from mmdet_srn.datasets.exif import displayed, turn_boxes
from mmdet_srn.datasets.formats import Face, LabelledImage, clean
from mmdet_srn.datasets.wider_face_txt_reader import AnnotationError

from .exports import HEIGHT, WIDTH, write_images

BOX = (30, 20, 80, 90)


def image_of(path, *boxes, label='face', **kwargs):
    faces = [Face(box, f'line {n}', label) for n, box in enumerate(boxes)]
    return LabelledImage(path, faces, **kwargs)


@pytest.fixture
def folder(tmp_path):
    return write_images(tmp_path, ['a.jpg', 'b.jpg'])


def turned_image(path, orientation):
    """An image with a bright rectangle at BOX as stored; what OpenCV shows of it."""
    pixels = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    x1, y1, x2, y2 = BOX
    pixels[y1:y2, x1:x2] = 255
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    Image.fromarray(pixels).save(path, exif=exif, quality=95)
    return cv2.imread(str(path))


@pytest.mark.parametrize('orientation', range(1, 9))
def test_box_turns_with_its_image(orientation, tmp_path):
    shown = turned_image(tmp_path / 'a.jpg', orientation)
    assert displayed((WIDTH, HEIGHT), orientation) == shown.shape[1::-1]
    rows, columns = np.nonzero(shown[..., 0] > 128)
    (box,) = turn_boxes(np.array([BOX], float), (WIDTH, HEIGHT), orientation)
    expected = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
    np.testing.assert_allclose(box, expected, atol=1)


def test_sizes_tell_what_boxes_are_of(tmp_path):
    shown = turned_image(tmp_path / 'a.jpg', 6)
    height, width = shown.shape[:2]
    (upright,), _ = clean([image_of('a.jpg', BOX, size=(width, height))], tmp_path)
    assert upright.faces[0].box == BOX
    (turned,), _ = clean([image_of('a.jpg', BOX, size=(height, width))], tmp_path)
    assert turned.faces[0].box == (HEIGHT - 90, 30, HEIGHT - 20, 80)
    assert turned.size == upright.size == (width, height)


@pytest.mark.parametrize(('size', 'orientation'), [(None, 6), ((WIDTH, HEIGHT), 3)])
def test_where_sizes_do_not_tell_it_is_asked(size, orientation, tmp_path):
    turned_image(tmp_path / 'a.jpg', orientation)
    images = [image_of('a.jpg', BOX, size=size)]
    with pytest.raises(AnnotationError, match='--boxes-are'):
        clean(images, tmp_path)
    (upright,), _ = clean(images, tmp_path, boxes_are='upright')
    assert upright.faces[0].box == BOX
    (turned,), _ = clean(images, tmp_path, boxes_are='unturned')
    assert turned.faces[0].box != BOX


def test_normalised_boxes_of_a_turned_image(tmp_path):
    turned_image(tmp_path / 'a.jpg', 6)
    box = tuple(np.array(BOX) / np.tile([WIDTH, HEIGHT], 2))
    images = [image_of('a.jpg', box, normalised=True)]
    (turned,), _ = clean(images, tmp_path, boxes_are='unturned')
    assert turned.faces[0].box == pytest.approx((HEIGHT - 90, 30, HEIGHT - 20, 80))


def test_landmarks_turn_with_their_box(tmp_path):
    turned_image(tmp_path / 'a.jpg', 6)
    points = (30, 20, 2, 0, 0, 0)  # a corner of the box, an unknown one
    (face,) = image_of('a.jpg', BOX).faces
    image = LabelledImage('a.jpg', [face._replace(keypoints=points)])
    (turned,), _ = clean([image], tmp_path, boxes_are='unturned')
    assert turned.faces[0].keypoints == (HEIGHT - 20, 30, 2, 0, 0, 0)
    scaled = tuple(np.array(BOX) / np.tile([HEIGHT, WIDTH], 2))
    points = (30 / HEIGHT, 20 / WIDTH, 2, 0, 0, 0)
    image = LabelledImage(
        'a.jpg', [face._replace(box=scaled, keypoints=points)], normalised=True
    )
    (upright,), _ = clean([image], tmp_path, boxes_are='upright')
    assert upright.faces[0].keypoints == pytest.approx((30, 20, 2, 0, 0, 0))


def test_what_is_left_out_is_said(folder):
    (folder / 'broken.jpg').write_bytes(b'\xff\xd8\xff')
    images = [
        image_of('a.jpg', BOX, (5, 5, 5, 9), (400, 10, 420, 30), (9, 9, 5, 15)),
        image_of('b.jpg', BOX, label='hat'),
        image_of('c.jpg', BOX),
        image_of('broken.jpg', BOX),
    ]
    kept, left_out = clean(images, folder, ['face'])
    assert [(image.path, len(image.faces)) for image in kept] == [
        ('a.jpg', 1),
        ('b.jpg', 0),
    ]
    assert left_out['missing'] == ['c.jpg']
    assert 'broken.jpg' in left_out['broken'][0]
    assert left_out['class'] == ['line 0 (hat)']
    assert left_out['empty'] == ['line 1', 'line 3']
    assert left_out['outside'] == ['line 2']


def test_classes_are_chosen_by_name(folder):
    images = [image_of('a.jpg', BOX, label='mask'), image_of('b.jpg', BOX)]
    with pytest.raises(AnnotationError, match="'mask' .*--classes|--classes.*'mask'"):
        clean(images, folder)
    kept, _ = clean(images, folder, ['mask', 'face'])
    assert [image.faces[0].label for image in kept] == ['mask', 'face']


def test_an_image_listed_twice_is_refused(folder):
    for path in ('a.jpg', 'a', f'{folder}/a.jpg'):
        images = [image_of('b.jpg', BOX), image_of('a.jpg', BOX), image_of(path)]
        with pytest.raises(AnnotationError, match=r'1 images .*once, such as a.jpg \('):
            clean(images, folder)


def test_resized_images_are_refused(folder):
    images = [image_of('a.jpg', BOX, size=(2 * WIDTH, 2 * HEIGHT))]
    with pytest.raises(AnnotationError, match='640x400'):
        clean(images, folder)


def test_normalised_numbers_are_no_pixels(folder):
    with pytest.raises(AnnotationError, match='pixels'):
        clean([image_of('a.jpg', (0.1, 0.1, 0.5, 0.5))], folder)


def test_another_folders_image_is_not_taken(folder):
    (folder / 'x.jpg').write_bytes((folder / 'a.jpg').read_bytes())
    _, left_out = clean([image_of('a.jpg', BOX), image_of('s/x.jpg', BOX)], folder)
    assert left_out['missing'] == ['s/x.jpg']


@pytest.mark.parametrize('start', ['{folder}/', '/elsewhere/', 'D:/made on/'])
def test_images_by_whole_paths(start, folder):
    """As lists of YOLO and MTCNN have them, of this machine or another one."""
    (folder / 's').mkdir()
    (folder / 's/a.jpg').write_bytes((folder / 'a.jpg').read_bytes())
    start = start.format(folder=folder)
    images = [image_of(f'{start}{name}', BOX) for name in ('s/a.jpg', 'b', 'c.jpg')]
    kept, left_out = clean(images, folder)
    assert [image.path for image in kept] == ['s/a.jpg', 'b.jpg']
    assert left_out['missing'] == [f'{start}c.jpg']


def test_no_image_is_an_error(tmp_path):
    with pytest.raises(AnnotationError, match='--images'):
        clean([image_of('a.jpg', BOX)], tmp_path)


def test_corners_read_as_sizes_are_noticed(folder):
    corners = [(100, 50, 180, 150), (200, 10, 216, 30), (10, 20, 40, 60)]
    wrong = [(a, b, a + c, b + d) for a, b, c, d in corners]
    with pytest.raises(AnnotationError, match='--corners'):
        clean([image_of('a.jpg', *wrong)], folder)
    kept, _ = clean([image_of('a.jpg', *wrong)], folder, corners=True)  # as said
    assert len(kept[0].faces) == 3
    kept, _ = clean([image_of('a.jpg', *corners)], folder)
    assert len(kept[0].faces) == 3
