"""Checks a data set in text or COCO's JSON: files, images, boxes, counts."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np

from .coco_json_reader import (
    REASONS,
    class_ids,
    describe_categories,
    judge_face,
    parse_coco_json,
)
from .image_check import ImageFacts
from .wider_face_txt_reader import (
    FACE_FIELDS,
    AnnotationError,
    ImageRecord,
    read_wider_face_txt,
)

#: Exit status of tools/check_dataset.py by what is wrong. The other findings are
#: remarks: the official data have them as well, and training copes with them.
LAYOUT, IMAGES, COUNTS, BOXES = 3, 4, 5, 6

_INVALID = FACE_FIELDS.index('invalid')


class Kind(NamedTuple):
    """A sort of finding.

    Attributes:
        title: What it is, in the plural.
        status: Exit status that it leads to; 0 for a remark.
    """

    title: str
    status: int = 0


#: Every sort of finding by its name in JSON, the gravest first.
KINDS = {
    'layout': Kind('files of the layout missing or malformed', LAYOUT),
    'missing': Kind('images listed but missing', IMAGES),
    'unreadable': Kind('images that cannot be decoded in full', IMAGES),
    'counts': Kind('counts other than the official ones', COUNTS),
    'no_faces': Kind('annotations without a face to find', BOXES),
    'sizes': Kind('images of another size than the annotation says', BOXES),
    'outside': Kind('boxes wholly outside their image', BOXES),
    'damaged': Kind('images that the decoder complains about, yet decodes'),
    'partly_outside': Kind('boxes partly outside their image'),
    'unused': Kind('faces that training leaves out'),
    'degenerate': Kind('boxes of no width or height (ignored in training)'),
    'invalid': Kind('boxes annotated as invalid (ignored in training)'),
    'repeated': Kind('boxes that their image has already'),
    'faceless': Kind('images without a face'),
    'unlisted': Kind('files that the annotation does not list'),
    'same_file': Kind('images that are another one, byte for byte'),
    'rotated': Kind('images that an EXIF tag rotates or mirrors'),
    'not_rgb': Kind('images that are not RGB (decoded to RGB all the same)'),
}


class Official(NamedTuple):
    """Where a split of WIDER FACE lies, and how much it holds.

    Attributes:
        annotation: The text file, below the data set's root.
        images: The images' folder, below the root.
        num_images: Number of images.
        num_boxes: Number of boxes; None if the annotation is withheld. It counts a
            box for each image without faces: for the row of zeros that follows the
            count 0, as the official evaluation's ground truth does.
    """

    annotation: str
    images: str
    num_images: int
    num_boxes: int | None


#: The official splits. The numbers are the WIDER FACE page's and the ground truth's.
OFFICIAL = {
    'train': Official(
        'wider_face_split/wider_face_train_bbx_gt.txt',
        'WIDER_train/images',
        12_880,
        159_424,
    ),
    'val': Official(
        'wider_face_split/wider_face_val_bbx_gt.txt',
        'WIDER_val/images',
        3_226,
        39_708,
    ),
    'test': Official(
        'wider_face_split/wider_face_test_filelist.txt',
        'WIDER_test/images',
        16_097,
        None,
    ),
}


class Split(NamedTuple):
    """A part of a data set.

    Attributes:
        name: Its name.
        annotation: The text file, or COCO's JSON.
        images: The images' folder.
        official: What it must hold; None for any number of images and boxes.
    """

    name: str
    annotation: Path
    images: Path
    official: Official | None = None


@dataclass
class SplitReport:
    """What was found out about a split.

    Attributes:
        split: The split.
        records: The annotation's images; empty if it could not be read.
        sizes: Path -> width and height that the annotation gives; empty for text.
        ids: For each image the ids of its faces in COCO's JSON; empty for text.
        numbers: Name -> number, of images, boxes and so on.
        ranges: Name -> least, median and greatest value, in pixels.
        findings: Name of a sort in :data:`KINDS` -> one line each.
    """

    split: Split
    records: list[ImageRecord] = field(default_factory=list)
    sizes: dict[str, tuple[float, float]] = field(default_factory=dict)
    ids: list[list[int | str]] = field(default_factory=list)
    numbers: dict[str, int] = field(default_factory=dict)
    ranges: dict[str, tuple[float, float, float]] = field(default_factory=dict)
    findings: dict[str, list[str]] = field(
        default_factory=lambda: {name: [] for name in KINDS}
    )

    def image_path(self, record: ImageRecord) -> str:
        """Where a listed image should be, as an absolute path."""
        return str((self.split.images / record.path).absolute())

    def statuses(self) -> set[int]:
        """The exit statuses that the findings lead to."""
        return {KINDS[name].status for name, found in self.findings.items() if found}


def find_splits(root: Path, custom: bool, names: Iterable[str] = ()) -> list[Split]:
    """The splits of a data set in the official layout.

    Args:
        root: The data set's folder.
        custom: Whether it need not be WIDER FACE itself.
        names: The splits wanted, of :data:`OFFICIAL`. Defaults to those that must be
            there, train and val, and to test if its images are there; of a custom
            data set, to those of which anything is there.

    Returns:
        The splits.
    """
    found = []
    for name, official in OFFICIAL.items():
        annotation, images = root / official.annotation, root / official.images
        if names:
            wanted = name in names
        elif name == 'test':
            # wider_face_split.zip holds its file list in any case.
            wanted = images.exists()
        else:
            wanted = not custom or annotation.exists() or images.exists()
        if wanted:
            limits = None if custom else official
            found.append(Split(name, annotation, images, limits))
    return found


def read_split(split: Split, classes: Sequence[str] = ('face',)) -> SplitReport:
    """Read the annotation of a split and compare the files with it.

    Args:
        split: The split.
        classes: Names of the categories that are read of COCO's JSON.

    Returns:
        The report, as far as it goes without looking at an image.
    """
    report = SplitReport(split)
    findings = report.findings
    try:
        if split.annotation.suffix.lower() == '.json':
            _read_coco_json(report, classes)
        else:
            report.records = read_wider_face_txt(split.annotation)
        report.numbers['images listed'] = len(report.records)
        if not report.records:
            findings['layout'].append(f'{split.annotation} lists no images')
    except AnnotationError as error:
        findings['layout'].append(str(error))
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


def _read_coco_json(report: SplitReport, classes: Sequence[str]) -> None:
    """Read COCO's JSON: the faces that training uses, and which it does not."""
    path = report.split.annotation
    content = parse_coco_json(path.read_bytes(), str(path))
    wanted = class_ids(content, classes)
    images = {image['id']: image for image in content['images']}
    faces: dict = {number: [] for number in images}
    for face in content['annotations']:
        image = images.get(face['image_id'])
        if why := judge_face(face, image, wanted):
            name = image['file_name'] if image else f'image {face["image_id"]}'
            reason = REASONS[why]
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
    report.numbers['boxes in the annotation'] = len(content['annotations'])


def check_split(report: SplitReport, facts: Mapping[str, ImageFacts]) -> None:
    """Add what the images, and the boxes in them, turn out to be.

    Args:
        report: The split's report, from :func:`read_split`; changed here.
        facts: Path of an image -> what it is; missing images are not in it.
    """
    if not report.records:
        return
    found = [facts.get(report.image_path(record)) for record in report.records]
    if report.split.images.is_dir():
        _check_images(report, found)
    sizes = [(0, 0) if fact is None else fact[1:3] for fact in found]
    _check_boxes(report, np.array(sizes, np.int64))
    if (official := report.split.official) is not None:
        _check_counts(report, official)


def find_same_files(
    reports: Sequence[SplitReport], facts: Mapping[str, ImageFacts]
) -> None:
    """Add the images that come twice, within a split or in two.

    Args:
        reports: The splits' reports; changed here.
        facts: Path of an image -> what it is.
    """
    first: dict[str, str] = {}
    for report in reports:
        for record in report.records:
            fact = facts.get(report.image_path(record))
            if fact is None or fact.error:
                continue
            name = f'{report.split.name}: {record.path}'
            if (other := first.setdefault(fact.digest, name)) != name:
                report.findings['same_file'].append(f'{record.path} is {other}')


def _check_images(report: SplitReport, found: Sequence[ImageFacts | None]) -> None:
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
        size = (fact.width, fact.height)
        if (said := report.sizes.get(path, size)) != size:
            why = ' (as before an EXIF rotation)' * (said == size[::-1])
            findings['sizes'].append(
                f'{path}: decoded as {size[0]}x{size[1]}, not {said[0]}x{said[1]}{why}'
            )
        if fact.warning:
            findings['damaged'].append(f'{path}: {fact.warning}')
        if fact.orientation != 1:
            size = f'decoded as {fact.width}x{fact.height}'
            findings['rotated'].append(
                f'{path}: orientation {fact.orientation}, {size}'
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
    rows = np.concatenate([record.faces for record in records])
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
    )
    # Where the first face of an image stands among the rows.
    starts = np.searchsorted(images, np.arange(len(records)))
    for name, mask in masks.items():
        for index in np.flatnonzero(mask).tolist():
            image = images[index]
            face = index - starts[image]
            place = f'line {records[image].line + 2 + face}'
            if report.ids:
                place = f'annotation {report.ids[image][face]}'
            box = ' '.join(map(str, rows[index, :4].tolist()))
            where = f'{records[image].path}: {box} ({place}'
            if name.endswith('outside'):
                where += f', image {size[index, 0]}x{size[index, 1]}'
            report.findings[name].append(f'{where})')
    report.numbers['boxes'] = len(rows)
    if records[0].annotated and not (good & ~masks['invalid']).any():
        report.findings['no_faces'].append(
            f'{report.split.annotation}: none of {len(rows)} boxes is a face to find'
        )
    if good.any():
        faces = np.bincount(images[good], minlength=len(records))
        report.findings['faceless'] = [
            records[i].path for i in np.flatnonzero(faces == 0)
        ]
        report.numbers['most boxes in an image'] = int(np.bincount(images).max())
        report.ranges['box height'] = _range(rows[good, 3])


def _check_counts(report: SplitReport, official: Official) -> None:
    name, boxes = report.split.name, report.numbers['boxes']
    if len(report.records) != official.num_images:
        report.findings['counts'].append(
            f'{len(report.records)} images listed for {name}, official are '
            f'{official.num_images}'
        )
    empty = sum(not len(record.faces) for record in report.records)
    if official.num_boxes not in (None, boxes, boxes + empty):
        report.findings['counts'].append(
            f'{boxes} boxes listed for {name}, official are {official.num_boxes}, '
            'with one for each image without faces'
        )


def _range(values: Sequence[int] | np.ndarray) -> tuple[float, float, float]:
    """Least, median and greatest value."""
    return tuple(np.quantile(values, (0, 0.5, 1), method='lower').tolist())
