"""The same faces as each tool exports them."""

import json
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np

WIDTH, HEIGHT = 320, 200
#: Image -> faces, x1 y1 x2 y2; the last of the first one is ignored where a format can.
FACES = {
    'a/one.jpg': [(10, 20, 40, 60), (100, 50, 180, 150), (200, 10, 216, 30)],
    'a/two.jpg': [(0, 0, 320, 200)],
    'b/none.jpg': [],
}
IGNORED = ('a/one.jpg', 2)


def write_images(folder: Path, names=FACES) -> Path:
    for number, name in enumerate(names):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), np.full((HEIGHT, WIDTH, 3), 90 + number, np.uint8))
    return folder


def _write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding='utf-8')
    return path


def _list(folder: Path, row: Callable, head='{name}\n{count}\n', end='') -> Path:
    write_images(folder)
    text = ''
    for name, boxes in FACES.items():
        text += head.format(name=name, count=len(boxes))
        for n, (x1, y1, x2, y2) in enumerate(boxes):
            text += row(x1, y1, x2 - x1, y2 - y1, (name, n) == IGNORED) + '\n'
        text += end if not boxes else ''
    return _write(folder / 'faces.txt', text)


def wider_face(folder: Path) -> Path:
    row = lambda x, y, w, h, ignored: f'{x} {y} {w} {h} 0 0 0 {int(ignored)} 0 0'  # noqa: E731
    return _list(folder, row, end='0 0 0 0 0 0 0 0 0 0\n')


def windows(folder: Path) -> Path:
    path = wider_face(folder)
    return _write(path, path.read_text().replace('/', '\\').replace('\n', '\r\n'))


def datumaro(folder: Path) -> Path:
    row = lambda x, y, w, h, ignored: f'{x}.0 {y}.0 {w}.0 {h}.0 - - - - - {ignored} '  # noqa: E731
    return _list(folder, row, head='no_label/{name}\n{count}\n')


def datumaro_label(folder: Path) -> Path:
    path = _list(folder, lambda x, y, w, h, _: f'{x}.0 {y}.0 {w}.0 {h}.0 Face')
    return _write(path, path.read_text().replace('b/none.jpg\n0\n', 'b/none.jpg\n'))


def retinaface(folder: Path) -> Path:
    landmarks = ' '.join(['-1.0'] * 15)
    row = lambda x, y, w, h, _: f'{x} {y} {w} {h} {landmarks} 1.0'  # noqa: E731
    return _list(folder, row, head='# {name}\n')


def lines(folder: Path) -> Path:
    write_images(folder)
    rows = [
        ' '.join(map(str, [name.removesuffix('.jpg'), *sum(boxes, ())]))
        for name, boxes in FACES.items()
        if boxes
    ]
    return _write(folder / 'faces.txt', '\n'.join(rows))


def keras(folder: Path) -> Path:
    """keras-yolo3's and Roboflow's "YOLO Keras"."""
    write_images(folder)
    rows = [
        ' '.join([name, *(','.join(map(str, [*box, 0])) for box in boxes)])
        for name, boxes in FACES.items()
    ]
    return _write(folder / 'faces.txt', '\n'.join(rows))


def csv(folder: Path) -> Path:
    write_images(folder)
    rows = ['filename,width,height,class,xmin,ymin,xmax,ymax']
    for name, boxes in FACES.items():
        given = [','.join(map(str, box)) for box in boxes]
        rows += [f'{name},{WIDTH},{HEIGHT},face,{box}' for box in given or [',,,']]
    return _write(folder / 'faces.csv', '\n'.join(rows))


def csv_sizes(folder: Path) -> Path:
    write_images(folder)
    rows = ['image;label;x;y;w;h']
    for name, boxes in FACES.items():
        rows += [f'{name};face;{a};{b};{c - a};{d - b}' for a, b, c, d in boxes]
    return _write(folder / 'faces.csv', '\n'.join(rows))


def coco(folder: Path) -> Path:
    write_images(folder)
    content = dict(images=[], annotations=[], categories=[dict(id=7, name='face')])
    for number, (name, boxes) in enumerate(FACES.items()):
        image = dict(id=number, file_name=name, width=WIDTH, height=HEIGHT)
        content['images'].append(image)
        for n, (x1, y1, x2, y2) in enumerate(boxes):
            face = dict(
                id=len(content['annotations']),
                image_id=number,
                category_id=7,
                bbox=[x1, y1, x2 - x1, y2 - y1],
                area=1,
                iscrowd=int((name, n) == IGNORED),
            )
            content['annotations'].append(face)
    return _write(folder / 'faces.json', json.dumps(content))


def yolo(folder: Path) -> Path:
    """Ultralytics' folders."""
    write_images(folder / 'images')
    _write(folder / 'data.yaml', 'names: {0: face}\ntrain: images\n')
    for name, boxes in FACES.items():
        rows = [
            f'0 {(a + c) / 2 / WIDTH} {(b + d) / 2 / HEIGHT} '
            f'{(c - a) / WIDTH} {(d - b) / HEIGHT}'
            for a, b, c, d in boxes
        ]
        _write((folder / 'labels' / name).with_suffix('.txt'), '\n'.join(rows))
    return folder


def yolo_polygons(folder: Path) -> Path:
    """Texts beside the images, no names of classes."""
    write_images(folder)
    for name, boxes in FACES.items():
        rows = []
        for a, b, c, d in boxes:
            points = [a, (b + d) / 2, (a + c) / 2, b, c, (b + d) / 2, (a + c) / 2, d]
            scaled = [p / (HEIGHT if n % 2 else WIDTH) for n, p in enumerate(points)]
            rows.append(' '.join(map(str, [0, *scaled])))
        _write((folder / name).with_suffix('.txt'), '\n'.join(rows))
    return folder


def voc(folder: Path) -> Path:
    write_images(folder)
    for name, boxes in FACES.items():
        objects = ''.join(
            f'<object><name>face</name><difficult>{int((name, n) == IGNORED)}'
            f'</difficult><bndbox><xmin>{a}</xmin><ymin>{b}</ymin><xmax>{c}</xmax>'
            f'<ymax>{d}</ymax></bndbox></object>'
            for n, (a, b, c, d) in enumerate(boxes)
        )
        text = (
            f'<annotation><filename>{Path(name).name}</filename><size><width>{WIDTH}'
            f'</width><height>{HEIGHT}</height></size>{objects}</annotation>'
        )
        _write((folder / name).with_suffix('.xml'), text)
    return folder


def labelme(folder: Path) -> Path:
    write_images(folder)
    for name, boxes in FACES.items():
        shapes = [
            dict(label='face', shape_type='rectangle', points=[[c, d], [a, b]])
            for a, b, c, d in boxes
        ]
        content = dict(
            shapes=shapes,
            imagePath=Path(name).name,
            imageWidth=WIDTH,
            imageHeight=HEIGHT,
        )
        _write((folder / name).with_suffix('.json'), json.dumps(content))
    return folder


#: Exporter -> format, whether it says which faces are ignored.
EXPORTS = {
    wider_face: ('wider_face', True),
    windows: ('wider_face', True),
    datumaro: ('datumaro', True),
    datumaro_label: ('datumaro', False),
    retinaface: ('retinaface', False),
    lines: ('lines', False),
    keras: ('lines', False),
    csv: ('csv', False),
    csv_sizes: ('csv', False),
    coco: ('coco', True),
    yolo: ('yolo', False),
    yolo_polygons: ('yolo', False),
    voc: ('voc', True),
    labelme: ('labelme', False),
}
