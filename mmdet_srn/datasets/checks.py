"""Checks of a data set in text or COCO's JSON: files, images, boxes, counts.

NumPy, OpenCV and Pillow are all that this needs.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np

from .coco_json_reader import (
    REASONS,
    describe_categories,
    judge_face,
    parse_coco_json,
)
from .formats import (
    CONVERTER,
    FORMATS,
    LabelledImage,
    Reading,
    clean,
    hint,
    look_like_corners,
    read_annotation,
    recognise,
)
from .image_scan import ImageFacts
from .wider_face_txt_reader import (
    FACE_FIELDS,
    AnnotationError,
    ImageRecord,
    read_wider_face_txt,
)

#: Exit status of tools/misc/check_dataset.py by what is wrong. The other findings are
#: remarks: the official data have them as well, and training copes with them.
LAYOUT, IMAGES, COUNTS, BOXES = 3, 4, 5, 6

_INVALID = FACE_FIELDS.index('invalid')

#: Width of SRN's smallest anchor, in pixels.
SMALLEST = 8
#: Number of examples of a kind to draw.
MOST_EXAMPLES = 8


class Kind(NamedTuple):
    """A kind of finding: its title and, if it is a fault, the exit status."""

    title: str
    status: int = 0


#: Every kind of finding by its name in JSON, the gravest first.
KINDS = {
    'layout': Kind('files of the layout missing or malformed', LAYOUT),
    'missing': Kind('images listed but missing', IMAGES),
    'unreadable': Kind('images that cannot be decoded in full', IMAGES),
    'counts': Kind('counts other than the official ones', COUNTS),
    'no_faces': Kind('annotations without a face to find', BOXES),
    'sizes': Kind('images of another size than the annotation says', BOXES),
    'corners': Kind('annotations whose boxes look like x1 y1 x2 y2', BOXES),
    'normalised': Kind('annotations whose boxes look like parts of the image', BOXES),
    'outside': Kind('boxes wholly outside their image', BOXES),
    'convert': Kind('annotations that training reads once they are converted'),
    'damaged': Kind('images that the decoder complains about, yet decodes'),
    'partly_outside': Kind('boxes partly outside their image'),
    'unused': Kind('faces that training leaves out'),
    'degenerate': Kind('boxes of no width or height (ignored in training)'),
    'invalid': Kind('boxes annotated as invalid (ignored in training)'),
    'repeated': Kind('boxes listed more than once for their image'),
    'tiny': Kind(f'faces under {SMALLEST} pixels, which no anchor fits'),
    'faceless': Kind('images without a face'),
    'unlisted': Kind('files that the annotation does not list'),
    'same_file': Kind('images identical to another one, byte for byte'),
    'rotated': Kind('images that an EXIF tag rotates or mirrors'),
    'not_rgb': Kind('images that are not RGB (decoded to RGB anyway)'),
}


class Split(NamedTuple):
    """A part of a data set, and what it must hold if it is WIDER FACE's."""

    name: str
    annotation: Path  # the text file, or COCO's JSON
    images: Path  # the folder of the images
    num_images: int | None = None  # the official number; None for any
    # The official number; None for any. An image without faces counts as one box: for
    # the row of zeros after its count, as in the official evaluation's ground truth.
    num_boxes: int | None = None


#: The official splits, below the data set's root. The numbers are the WIDER FACE page's
#: and the ground truth's.
OFFICIAL = {
    name: Split(
        name,
        Path(f'wider_face_split/wider_face_{file}'),
        Path(f'WIDER_{name}/images'),
        *numbers,
    )
    for name, file, *numbers in (
        ('train', 'train_bbx_gt.txt', 12_880, 159_424),
        ('val', 'val_bbx_gt.txt', 3_226, 39_708),
        ('test', 'test_filelist.txt', 16_097),
    )
}


@dataclass
class SplitReport:
    """What was found out about a split."""

    split: Split
    # The annotation's images; empty if it could not be read.
    records: list[ImageRecord] = field(default_factory=list)
    # From COCO's JSON: path -> width and height, and each image's ids of faces.
    sizes: dict[str, tuple[float, float]] = field(default_factory=dict)
    ids: list[list[int | str]] = field(default_factory=list)
    # From COCO's JSON: ids of annotations that no conversion can read.
    unreadable: set[int | str] = field(default_factory=set)
    # Name -> number of images, boxes and so on.
    numbers: dict[str, int] = field(default_factory=dict)
    # Name -> minimum, median and maximum, in pixels.
    ranges: dict[str, tuple[float, float, float]] = field(default_factory=dict)
    # Name of a kind in KINDS -> one line each.
    findings: dict[str, list[str]] = field(
        default_factory=lambda: {name: [] for name in KINDS}
    )
    #: Name of a kind -> some images with a box x1 y1 x2 y2 each, to draw.
    examples: dict[str, list[tuple[str, list[float]]]] = field(default_factory=dict)
    reading: Reading = Reading()
    format: str = ''  # a key of FORMATS; '' if the annotation could not be read
    # What a conversion makes of it, once that is known.
    converted: list[LabelledImage] | None = None
    # Label -> number of faces, in the order of COCO's categories if there are any.
    labels: dict[str, int] = field(default_factory=dict)

    def image_path(self, record: ImageRecord) -> str:
        """Where a listed image should be, as an absolute path."""
        return str((self.split.images / record.path).absolute())

    def statuses(self) -> set[int]:
        """Collect the exit statuses that the findings lead to."""
        return {KINDS[name].status for name, found in self.findings.items() if found}


def find_splits(root: Path, custom: bool, names: Iterable[str] = ()) -> list[Split]:
    """Find the splits of a data set in the official layout.

    Args:
        root: The data set's folder.
        custom: Whether it need not be WIDER FACE itself.
        names: The splits wanted, of :data:`OFFICIAL`. Defaults to train, val, and
            test if its images are there; for a custom data set to what is there.
    """
    found = []
    for name, annotation, images, *numbers in OFFICIAL.values():
        annotation, images = root / annotation, root / images
        if names:
            wanted = name in names
        elif name == 'test':  # wider_face_split.zip holds its file list in any case
            wanted = images.exists()
        else:
            wanted = not custom or annotation.exists() or images.exists()
        if wanted:
            found.append(Split(name, annotation, images, *([] if custom else numbers)))
    return found


def read_split(split: Split, reading: Reading | None = None) -> SplitReport:
    """Read a split's annotation and compare the files with it, images unopened."""
    reading = reading or Reading()
    report = SplitReport(split, reading=reading)
    findings = report.findings
    try:
        name = _recognise(split.annotation)
        trained_on = not reading.corners and reading.boxes_are != 'unturned'
        if name == 'coco' and trained_on:
            _read_coco_json(report)
        elif name == 'wider_face' and trained_on:
            report.records = read_wider_face_txt(split.annotation)
        else:
            _read_other(report, name)
        report.format = name
        report.numbers['images listed'] = len(report.records)
        if not report.records:
            findings['layout'].append(f'{split.annotation} lists no images')
    except AnnotationError as error:
        # A text that no format fits went to WIDER FACE's reader.
        more = hint(split.annotation) if name == 'wider_face' else ''
        findings['layout'].append(f'{error}{more}')
    except OSError as error:
        findings['layout'].append(f'{split.annotation}: {error.strerror}')
    if not split.images.is_dir():
        findings['layout'].append(f'{split.images}: no such folder')
    elif report.records:
        listed = {record.path for record in report.records}
        files = (path for path in split.images.rglob('*') if not path.is_dir())
        names = (path.relative_to(split.images).as_posix() for path in files)
        findings['unlisted'] = sorted(set(names) - listed)
    return report


def _recognise(annotation: Path) -> str:
    """Tell the format; where none fits, the reader of WIDER FACE's text says why."""
    try:
        return recognise(annotation)
    except AnnotationError:
        return 'coco' if annotation.suffix.lower() == '.json' else 'wider_face'


def _read_coco_json(report: SplitReport) -> None:
    """Read COCO's JSON: the faces that training uses, and which it does not."""
    path, classes = report.split.annotation, report.reading.classes
    content = parse_coco_json(path.read_bytes(), str(path))
    names = {category['id']: category['name'] for category in content['categories']}
    wanted = [number for number, name in names.items() if name in classes]
    counts = Counter(face['category_id'] for face in content['annotations'])
    report.labels = {names[number]: counts[number] for number in names}
    images = {image['id']: image for image in content['images']}
    faces: dict = {number: [] for number in images}
    for face in content['annotations']:
        image = images.get(face['image_id'])
        if why := judge_face(face, image, wanted):
            name = image['file_name'] if image else f'image {face["image_id"]}'
            reason = REASONS[why]
            # Whatever its area, which conversions compute.
            verdict = judge_face({**face, 'area': 1}, image, wanted)
            if verdict in ('not_finite', 'image'):
                report.unreadable.add(face['id'])
            if why == 'category':
                reason += f' (there are {describe_categories(content)})'
            report.findings['unused'].append(
                f'{name}: annotation {face["id"]}: {reason}'
            )
        else:
            faces[face['image_id']].append(face)
    for number, image in images.items():
        report.sizes[image['file_name']] = (image['width'], image['height'])
        table = np.zeros((len(faces[number]), len(FACE_FIELDS)))
        for row, face in zip(table, faces[number], strict=True):
            row[:4] = face['bbox']
            row[_INVALID] = bool(face.get('iscrowd'))
        report.records.append(ImageRecord(image['file_name'], table, 0))
        report.ids.append([face['id'] for face in faces[number]])
    boxes = [face['bbox'] for face in content['annotations']]
    report.numbers['boxes in the annotation'] = len(boxes)
    if boxes and all(abs(value) <= 1 for bbox in boxes for value in bbox):
        report.findings['normalised'].append(
            f'{path}: no number of a bbox is above 1, pixels are expected'
        )


def _read_other(report: SplitReport, name: str) -> None:
    """Read what training does not read as it is: what a conversion makes of it."""
    split, findings = report.split, report.findings
    report.converted, left_out = _convert(report, name)
    for reason, kind in (
        *(('missing', 'missing'), ('broken', 'unreadable'), ('class', 'unused')),
        *(('empty', 'degenerate'), ('outside', 'outside')),
    ):
        findings[kind] += left_out[reason]
    findings['convert'].append(
        f'{split.annotation} is {FORMATS[name].title}: convert it with {CONVERTER}'
    )
    for image in report.converted:
        table = np.zeros((len(image.faces), len(FACE_FIELDS)))
        for row, face in zip(table, image.faces, strict=True):
            row[:2], row[2:4] = face.box[:2], np.subtract(face.box[2:], face.box[:2])
            row[_INVALID] = face.ignored
        report.records.append(ImageRecord(image.path, table, 0))
        report.ids.append([face.place for face in image.faces])


def _convert(
    report: SplitReport, name: str
) -> tuple[list[LabelledImage], dict[str, list[str]]]:
    reading, split = report.reading, report.split
    _, images = read_annotation(
        split.annotation, reading.corners, name, report.unreadable
    )
    report.labels = Counter(face.label for image in images for face in image.faces)
    classes = [label for label in reading.classes if label in report.labels]
    return clean(images, split.images, classes, reading.boxes_are, reading.corners)


def without_faults(
    report: SplitReport, facts: Mapping[str, ImageFacts]
) -> list[LabelledImage]:
    """Give a split's whole images with their usable faces, in pixels as displayed."""
    if report.converted is None:
        report.converted, _ = _convert(report, report.format)
    folder = report.split.images
    found = [facts.get(str((folder / i.path).absolute())) for i in report.converted]
    pairs = zip(report.converted, found, strict=True)
    return [image for image, fact in pairs if fact and not fact.error]


def check_splits(
    reports: Sequence[SplitReport], facts: Mapping[str, ImageFacts]
) -> None:
    """Add the findings on images and boxes to the reports of :func:`read_split`."""
    first: dict[str, str] = {}  # digest of a file -> the first image that has it
    listed = {r.image_path(record) for r in reports for record in r.records}
    for report in reports:
        folder = report.split.images.absolute()  # others may list what is in it
        report.findings['unlisted'] = [
            name
            for name in report.findings['unlisted']
            if str(folder / name) not in listed
        ]
        if not report.records:
            continue
        found = [facts.get(report.image_path(record)) for record in report.records]
        if report.split.images.is_dir():
            _check_images(report, found, first)
        sizes = [(0, 0) if fact is None else fact[1:3] for fact in found]
        _check_boxes(report, np.array(sizes, np.int64))
        if report.split.num_images is not None:
            _check_counts(report)


def _check_images(
    report: SplitReport, found: Sequence[ImageFacts | None], first: dict[str, str]
) -> None:
    findings = report.findings
    whole = []
    for record, fact in zip(report.records, found, strict=True):
        path = record.path
        if fact is None:
            findings['missing'].append(path)
            continue
        if fact.error:
            findings['unreadable'].append(f'{path}: {fact.error}')
            continue
        whole.append(fact)
        name = f'{report.split.name}: {path}'
        if (other := first.setdefault(fact.digest, name)) != name:
            findings['same_file'].append(f'{path} is {other}')
        size = (fact.width, fact.height)
        decoded = f'decoded as {size[0]}x{size[1]}'
        if (said := report.sizes.get(path, size)) != size:
            why = ' (as before an EXIF rotation)' * (said == size[::-1])
            findings['sizes'].append(f'{path}: {decoded}, not {said[0]}x{said[1]}{why}')
        if fact.warning:
            findings['damaged'].append(f'{path}: {fact.warning}')
        if fact.orientation != 1:
            findings['rotated'].append(
                f'{path}: orientation {fact.orientation}, {decoded}'
            )
        if fact.mode != 'RGB':
            findings['not_rgb'].append(f'{path}: {fact.format} {fact.mode}')
    report.numbers['images decoded in full'] = len(whole)
    if whole:
        report.ranges['image width'] = _range([fact.width for fact in whole])
        report.ranges['image height'] = _range([fact.height for fact in whole])


def _check_boxes(report: SplitReport, sizes: np.ndarray) -> None:
    """Check the boxes against the images' sizes (N, 2): width, height; 0 unknown."""
    records = report.records
    rows = np.concatenate([record.faces for record in records])  # (faces, 10)
    if rows.dtype.kind == 'i':
        rows = rows.astype(np.int64)  # x + w of two large int32 would overflow
    images = np.repeat(np.arange(len(records)), [len(r.faces) for r in records])
    first, last = rows[:, :2], rows[:, :2] + rows[:, 2:4]
    size = sizes[images]
    good = (rows[:, 2:4] > 0).all(axis=1)
    known = good & (size[:, 0] > 0)
    outside = known & ((first >= size) | (last <= 0)).any(axis=1)
    beyond = known & ((first < 0) | (last > size)).any(axis=1)
    repeated = good.copy()
    places = np.c_[images, rows[:, :4]]
    repeated[np.unique(places, axis=0, return_index=True)[1]] = False
    masks = dict(
        outside=outside,
        partly_outside=beyond & ~outside,
        degenerate=~good,
        invalid=rows[:, _INVALID] != 0,
        repeated=repeated,
        tiny=good & (rows[:, 2:4].max(axis=1) < SMALLEST),
    )
    if known.any() and look_like_corners(np.c_[first, last][known], size[known]):
        report.findings['corners'].append(
            f'{report.split.annotation}: {beyond.sum()} of {len(rows)} boxes leave '
            'their image, none would as corners: convert it with --corners'
        )
    # Where the first face of an image stands among the rows.
    starts = np.searchsorted(images, np.arange(len(records)))
    for name, mask in masks.items():
        for index in np.flatnonzero(mask).tolist():
            image = images[index]
            face = index - starts[image]
            place = f'line {records[image].line + 2 + face}'
            if report.ids:
                number = report.ids[image][face]
                place = f'annotation {number}' if report.sizes else number
            if name.endswith('outside'):
                place += f', image {size[index, 0]}x{size[index, 1]}'
            box = ' '.join(map(str, rows[index, :4].tolist()))
            report.findings[name].append(f'{records[image].path}: {box} ({place})')
        some = np.flatnonzero(mask)[:MOST_EXAMPLES]
        report.examples[name] = [
            (report.image_path(records[images[n]]), [*first[n], *last[n]]) for n in some
        ]
    report.numbers['boxes'] = len(rows)
    if records[0].annotated and not (good & ~masks['invalid']).any():
        message = (
            f'{report.split.annotation}: none of {len(rows)} boxes is a face to find'
        )
        if report.labels and not set(report.labels) & set(report.reading.classes):
            names = ' '.join(map(repr, report.labels))
            message += f'. Choose among its labels with --classes: {names}'
        report.findings['no_faces'].append(message)
    if good.any():
        faces = np.bincount(images[good], minlength=len(records))
        report.findings['faceless'] = [
            records[i].path for i in np.flatnonzero(faces == 0)
        ]
        report.numbers['most boxes in an image'] = int(np.bincount(images).max())
        report.ranges['box height'] = _range(rows[good, 3])


def _check_counts(report: SplitReport) -> None:
    name, _, _, num_images, num_boxes = report.split
    images, boxes = len(report.records), report.numbers['boxes']
    counts = report.findings['counts']
    if images != num_images:
        counts.append(f'{images} images listed for {name}, official are {num_images}')
    empty = sum(not len(record.faces) for record in report.records)
    if num_boxes not in (None, boxes, boxes + empty):
        counts.append(
            f'{boxes} boxes listed for {name}, official are {num_boxes}, with one for '
            'each image without faces'
        )


def _range(values: Sequence[int] | np.ndarray) -> tuple[float, float, float]:
    """Minimum, median and maximum."""
    return tuple(np.quantile(values, (0, 0.5, 1), method='lower').tolist())
