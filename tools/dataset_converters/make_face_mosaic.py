"""Build a small face detection data set from what scikit-image ships.

    python tools/dataset_converters/make_face_mosaic.py data/face_mosaic

Real faces (the 100 face crops of ``lfw_subset.npy``) are blended into real
photographs, together with distractors (its 100 non-face crops, ovals cut from the
photographs), and written in WIDER FACE's official layout:

    WIDER_{train,val}/images/<event>/<name>.jpg
    wider_face_split/wider_face_{train,val}_bbx_gt.txt
    mosaic.json                                    the settings

People, non-face crops and photographs of val do not occur in train. An event is the
photograph behind the faces.

A face is drawn through an oval mask with soft edges, 0.8 as wide as high, that fills
the crop from brow to chin; its box is the axis-aligned box around the oval's outline
(where the mask is one half) after rotation, and lies inside the image. The attributes
follow WIDER FACE: ``occlusion`` is 0 for none, 1 up to 30 % of the oval covered, 2 for
more (at least 60 % stays visible); ``blur`` is 0, 1, 2 by the blur added;
``illumination`` is 1 for strong changes of brightness or contrast, ``pose`` for a
rotation by more than 20 degrees; ``expression`` and ``invalid`` are 0.

The same settings give the same bytes on the same machine (OpenCV's resampling and JPEG
encoder may differ elsewhere). Nothing is downloaded.
"""

import argparse
import hashlib
import importlib.util
import json
import math
import shutil
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
from PIL import Image
from tqdm import tqdm

SETTINGS_FILE = 'mosaic.json'
# Part of the settings: raise it whenever the same options give other images.
RECIPE = 4

# Photographs of each split: file in skimage/data and the part to use as left, top,
# right, bottom (None: all of it). Left out: coins (portraits), the faces of astronaut
# and camera, and drawings. Both views of the motorcycle are one scene, so in one split.
Region = tuple[int, int, int, int]
PHOTOS: dict[str, dict[str, Region | None]] = {
    'train': {
        'astronaut.png': (0, 230, 512, 512),
        'brick.png': None,
        'cell.png': None,
        'chelsea.png': None,
        'clock_motion.png': None,
        'grass.png': None,
        'hubble_deep_field.jpg': None,
        'moon.png': None,
        'motorcycle_left.png': None,
        'motorcycle_right.png': None,
        'page.png': None,
        'retina.jpg': (300, 150, 1150, 1250),
    },
    'val': {
        'camera.png': (290, 0, 512, 512),
        'coffee.png': None,
        'gravel.png': None,
        'ihc.png': None,
        'rocket.jpg': None,
        'text.png': None,
    },
}

# Crops of lfw_subset.npy: 0-99 are faces, 100-199 are not. LFW has several pictures of
# some people, and the file has no names. So these faces were chosen by eye: none looks
# like a face of train, and those that may show one person (0, 36, 73, 90) are in train.
VAL_FACES = (12, 13, 17, 19, 30, 47, 52, 59, 64, 75, 76, 77, 78)
VAL_FACES += (80, 82, 83, 84, 85, 86, 87, 88, 92, 96, 98, 99)
VAL_NON_FACES = tuple(range(175, 200))
# "Non-faces" that show a part of a face.
SKIPPED_NON_FACES = (125, 130, 193, 196)

OVAL_ASPECT = 0.8  # width / height; the anchors of SRN have the same shape
OVAL_EDGE = 0.12  # width of the soft edge, as a share of the radius
MIN_VISIBLE = 0.6  # share of a face's oval that nothing may cover
MAX_TURN = 25.0  # degrees
JPEG_QUALITY = 92
LUMINANCE = np.array([0.114, 0.587, 0.299], np.float32)  # of B, G, R


class MosaicError(Exception):
    """A problem that the user has to solve, described in full."""


def _option(default: Any, text: str) -> Any:
    return field(default=default, metadata=dict(help=text))


@dataclass(frozen=True)
class Settings:
    """What determines the data set, each an option of the command line."""

    num_train: int = _option(2400, 'training images')
    num_val: int = _option(100, 'validation images')
    size: int = _option(256, 'height and width of the images in pixels')
    seed: int = _option(0, 'seed of everything random')
    min_face: int = _option(8, 'smallest height of a face in pixels')
    max_face: int = _option(
        200, 'largest height of a face in pixels, at most 0.9 of the size'
    )
    max_faces: int = _option(16, 'most faces in one image')
    empty_share: float = _option(0.05, 'share of the images without faces')

    def __post_init__(self) -> None:
        if min(self.num_train, self.num_val) < 1:
            raise MosaicError('--num-train and --num-val must be at least 1')
        if self.size < 32:
            raise MosaicError('--size must be at least 32')
        if self.seed < 0:
            raise MosaicError('--seed must not be negative')
        if not 4 <= self.min_face <= self.max_face:
            raise MosaicError('it must hold that 4 <= --min-face <= --max-face')
        if self.min_face > self.largest:
            raise MosaicError(
                f'--min-face {self.min_face} does not fit images of {self.size} pixels'
            )
        if self.max_faces < 1:
            raise MosaicError('--max-faces must be at least 1')
        if not 0 <= self.empty_share <= 1:
            raise MosaicError('--empty-share must be within [0, 1]')

    @property
    def largest(self) -> int:
        """Largest height of a face that is drawn, in pixels."""
        return min(self.max_face, int(0.9 * self.size))


class Source(NamedTuple):
    """The raw material of one split."""

    photos: dict[str, np.ndarray]  # by name, uint8 BGR
    faces: np.ndarray  # crops (N, 25, 25), float32 in [0, 1]
    non_faces: np.ndarray  # the same


class Patch(NamedTuple):
    """Something to paste."""

    image: np.ndarray  # float32 (H, W, 1 or 3), 0 to 1
    alpha: np.ndarray  # opacity, float32 (H, W)
    margin: int  # pixels on each side between the patch's and the oval's box

    @property
    def oval(self) -> np.ndarray:
        """The oval inside its box, bool (h, w)."""
        inside = slice(self.margin, -self.margin)
        return self.alpha[inside, inside] >= 0.5

    @property
    def box_size(self) -> tuple[int, int]:
        """Height and width of the oval's box in pixels."""
        height, width = self.alpha.shape
        return height - 2 * self.margin, width - 2 * self.margin


@dataclass
class Face:
    """A pasted face: its box x, y, w, h in pixels and its attributes."""

    box: tuple[int, int, int, int]
    blur: int
    illumination: int
    pose: int
    oval: np.ndarray  # bool (h, w): the oval inside the box
    occlusion: int = 0

    def row(self) -> str:
        """Write the face as a line of the annotation."""
        values = (self.blur, 0, self.illumination, 0, self.occlusion, self.pose)
        return ' '.join(map(str, (*self.box, *values))) + ' '


def data_folder() -> Path:
    """Find the data that scikit-image ships, without importing it."""
    spec = importlib.util.find_spec('skimage')
    if spec is None or spec.origin is None:
        raise MosaicError(
            'scikit-image is missing, whose images the mosaic is made of: '
            'pip install scikit-image'
        )
    return Path(spec.origin).parent / 'data'


def load_sources(folder: Path) -> dict[str, Source]:
    """Read the raw material of 'train' and 'val' from ``skimage/data``.

    Raises:
        MosaicError: If a file is missing or is not what it should be.
    """
    crops_file = _existing(folder / 'lfw_subset.npy')
    crops = np.load(crops_file).astype(np.float32)
    if crops.shape != (200, 25, 25) or not 0 <= crops.min() <= crops.max() <= 1:
        raise MosaicError(
            f'{crops_file} should hold 200 crops of 25x25 in [0, 1], not {crops.shape}'
        )
    faces = {'val': set(VAL_FACES), 'train': set(range(100)) - set(VAL_FACES)}
    others = {'val': set(VAL_NON_FACES), 'train': set(range(100, 200))}
    others['train'] -= others['val']
    return {
        split: Source(
            {name: _read_photo(folder / name, part) for name, part in photos.items()},
            crops[sorted(faces[split])],
            crops[sorted(others[split] - set(SKIPPED_NON_FACES))],
        )
        for split, photos in PHOTOS.items()
    }


def _existing(file: Path) -> Path:
    if not file.is_file():
        raise MosaicError(
            f'{file} is missing, though scikit-image ships it (0.22 and later): '
            'pip install --upgrade --force-reinstall scikit-image'
        )
    return file


def _read_photo(file: Path, part: Region | None) -> np.ndarray:
    # Not OpenCV, which prints a libpng warning about one of the files.
    with Image.open(_existing(file)) as image:
        photo = np.asarray(image.convert('RGB').crop(part))
    return np.ascontiguousarray(photo[..., ::-1])


class Painter:
    """Draw one image, with a random generator of its own."""

    def __init__(
        self, source: Source, settings: Settings, rng: np.random.Generator
    ) -> None:
        self.source = source
        self.settings = settings
        self.rng = rng
        self.faces: list[Face] = []
        size = settings.size
        # Which face a pixel shows: its number from 1, or 0.
        self.owner = np.zeros((size, size), np.int16)
        self.canvas = np.zeros((size, size, 3), np.float32)

    def paint(self, photo: str) -> tuple[np.ndarray, list[Face]]:
        """Draw an image, uint8 BGR, and return its faces from left to right, too."""
        rng, settings = self.rng, self.settings
        self.canvas = self._background(photo)
        heights: list[tuple[float, bool]] = []
        if rng.random() >= settings.empty_share:
            # Many faces per image: more to learn for the same computation.
            count = int(rng.integers(1, settings.max_faces + 1))
            heights += [(self._height(), True) for _ in range(count)]
        heights += [(self._height(), False) for _ in range(rng.integers(0, 5))]
        # Large things first, so that small ones are not lost behind them.
        for height, is_face in sorted(heights, reverse=True):
            self._add(round(height), is_face)
        for number, face in enumerate(self.faces, 1):
            covered = 1 - self._visible(number)
            # Blending wets a few pixels of the edge: 3 % is none.
            face.occlusion = 0 if covered <= 0.03 else 1 if covered <= 0.3 else 2
        return self._finish(), sorted(self.faces, key=lambda face: face.box)

    def _height(self) -> float:
        """Draw a height, uniform in its logarithm."""
        low, high = self.settings.min_face, self.settings.largest
        return math.exp(self.rng.uniform(math.log(low), math.log(high)))

    def _photo_part(self, photo: str, height: int, width: int) -> np.ndarray:
        """Take a random part of a photograph, flipped and resized; float32."""
        rng, image = self.rng, self.source.photos[photo]
        limit = min(image.shape[0] / height, image.shape[1] / width)
        # Not enlarged by more than two, unless the photograph is too small for it.
        scale = rng.uniform(min(0.5, limit), min(limit, 3.0))
        h, w = max(1, int(height * scale)), max(1, int(width * scale))
        top = rng.integers(0, image.shape[0] - h + 1)
        left = rng.integers(0, image.shape[1] - w + 1)
        part = image[top : top + h, left : left + w]
        if rng.random() < 0.5:
            part = part[:, ::-1]
        method = cv2.INTER_AREA if scale > 1 else cv2.INTER_CUBIC
        part = cv2.resize(
            np.ascontiguousarray(part), (width, height), None, 0, 0, method
        )
        return part.astype(np.float32)

    def _background(self, photo: str) -> np.ndarray:
        rng, size = self.rng, self.settings.size
        canvas = self._photo_part(photo, size, size)
        names = list(self.source.photos)
        # Pieces of other photographs, so that an edge alone is no sign of a face.
        for _ in range(rng.integers(1, 4) if rng.random() < 0.4 else 0):
            h, w = rng.integers(size // 8, size // 2, 2)
            top, left = rng.integers(0, size - h), rng.integers(0, size - w)
            piece = self._photo_part(names[rng.integers(len(names))], h, w)
            canvas[top : top + h, left : left + w] = piece
        # Half of the photographs are grey, the faces are tinted: colour must not
        # tell them apart.
        canvas *= rng.uniform(0.8, 1.2, 3).astype(np.float32)
        mean = canvas.mean()
        contrast, brightness = rng.uniform(0.6, 1.1), rng.uniform(-30, 30)
        return np.clip((canvas - mean) * contrast + mean + brightness, 0, 255)

    def _add(self, height: int, is_face: bool) -> None:
        """Paste a face or a distractor of that height if there is a place."""
        rng, size = self.rng, self.settings.size
        turn = rng.uniform(-MAX_TURN, MAX_TURN)
        blur = int(rng.choice(3, p=(0.7, 0.2, 0.1)))
        patch = oval_patch(self._crop(is_face), height, turn, blur)
        h, w = patch.box_size
        if max(h, w) > size:
            return
        for _ in range(20):
            left = int(rng.integers(0, size - w + 1))
            top = int(rng.integers(0, size - h + 1))
            if self._place(patch.oval, left, top, is_face):
                break
        else:
            return
        illumination = self._paste(patch, left, top)
        if is_face:
            pose = int(abs(turn) > 20)
            face = Face((left, top, w, h), blur, illumination, pose, patch.oval)
            self.faces.append(face)

    def _crop(self, is_face: bool) -> np.ndarray:
        """Pick a grey face, or a grey or coloured distractor, flipped at random."""
        rng, source = self.rng, self.source
        if not is_face and rng.random() < 0.5:
            names = list(source.photos)
            crop = self._photo_part(names[rng.integers(len(names))], 50, 50) / 255
        else:
            pool = source.faces if is_face else source.non_faces
            crop = pool[rng.integers(len(pool))]
        return np.ascontiguousarray(crop[:, ::-1] if rng.random() < 0.5 else crop)

    def _place(self, oval: np.ndarray, left: int, top: int, is_face: bool) -> bool:
        """Take the pixels of the oval, unless it would hide too much of a face."""
        h, w = oval.shape
        window = (slice(top, top + h), slice(left, left + w))
        before = self.owner[window].copy()
        if (before[oval] > 0).mean() > 1 - MIN_VISIBLE:
            return False
        self.owner[window][oval] = len(self.faces) + 1 if is_face else 0
        for number in np.unique(before[oval]):
            if number > 0 and self._visible(number) < MIN_VISIBLE:
                self.owner[window] = before
                return False
        return True

    def _visible(self, number: int) -> float:
        """Compute the visible share of a face's oval."""
        face = self.faces[number - 1]
        x, y, w, h = face.box
        seen = self.owner[y : y + h, x : x + w] == number
        return float(seen[face.oval].mean())

    def _paste(self, patch: Patch, left: int, top: int) -> int:
        """Light, tint and blend a patch in; return the illumination attribute."""
        rng, margin, size = self.rng, patch.margin, self.settings.size
        height, width = patch.alpha.shape
        # The soft edge may stick out of the image, the box does not.
        y0, x0 = top - margin, left - margin
        rows = slice(max(0, -y0), min(height, size - y0))
        columns = slice(max(0, -x0), min(width, size - x0))
        image = patch.image[rows, columns]
        alpha = patch.alpha[rows, columns][..., None]
        window = self.canvas[
            y0 + rows.start : y0 + rows.stop, x0 + columns.start : x0 + columns.stop
        ]
        behind = window.mean(axis=(0, 1))

        weight = alpha / alpha.sum()
        mean = (image * weight).sum(axis=(0, 1)).mean()
        spread = math.sqrt(((image - mean) ** 2 * weight).sum() / image.shape[2])
        contrast = rng.uniform(30, 60)
        brightness = rng.uniform(60, 190)
        brightness += rng.uniform(0, 0.6) * (behind.mean() - brightness)
        # The limit keeps the noise of a flat crop down.
        gain = min(contrast / max(spread, 1e-6), 750.0)
        image = (image - mean) * gain + brightness
        if image.shape[2] == 1:
            image = image * self._tint(behind)
        window += (np.clip(image, 0, 255) - window) * alpha
        return int(contrast < 35 or not 70 <= brightness <= 180)

    def _tint(self, behind: np.ndarray) -> np.ndarray:
        """Draw factors for B, G, R of luminance 1: skin, surroundings, or grey."""
        rng = self.rng
        kind = rng.random()
        if kind < 0.65:
            tint = np.array([1 - rng.uniform(0.05, 0.4), 1, 1 + rng.uniform(0.05, 0.4)])
        elif kind < 0.85:
            tint = np.clip(behind / max(behind.mean(), 1.0), 0.5, 1.6)
        else:
            tint = np.ones(3)
        return (tint / (tint @ LUMINANCE)).astype(np.float32)

    def _finish(self) -> np.ndarray:
        """Add what a camera adds; uint8 BGR."""
        rng, canvas = self.rng, self.canvas
        if rng.random() < 0.15:
            canvas = np.repeat((canvas @ LUMINANCE)[..., None], 3, axis=2)
        noise = rng.standard_normal(canvas.shape, np.float32)
        canvas = canvas + np.float32(rng.uniform(0, 5)) * noise
        return np.clip(np.rint(canvas), 0, 255).astype(np.uint8)


def oval_patch(crop: np.ndarray, height: int, turn: float, blur: int) -> Patch:
    """Cut a rotated oval out of a crop.

    Args:
        crop: Float32 image (S, S) or (S, S, 3) in [0, 1].
        height: Height of the box around the rotated oval in pixels.
        turn: Angle in degrees, clockwise.
        blur: 0, 1 or 2: Gaussian of sigma 0, 2 % or 4 % of the height, so that a
            blurred face remains one at any size.
    """
    sin, cos = math.sin(math.radians(turn)), math.cos(math.radians(turn))
    # Half the box of a rotated ellipse with semi-axes OVAL_ASPECT and 1.
    half_width = math.hypot(OVAL_ASPECT * cos, sin)
    half_height = math.hypot(OVAL_ASPECT * sin, cos)
    axis = height / 2 / half_height
    width = max(1, round(2 * axis * half_width))
    margin = math.ceil(OVAL_EDGE / 2 * axis) + 1

    # Sampled finely, then averaged: small faces must not alias.
    fine = max(1, math.ceil(2 * crop.shape[0] / height))
    y, x = (
        (np.arange(fine * (n + 2 * margin)) + 0.5) / fine - margin - n / 2
        for n in (height, width)
    )
    x, y = np.meshgrid(x / axis, y / axis)
    u, v = cos * x + sin * y, cos * y - sin * x  # in the face's own directions
    radius = np.hypot(u / OVAL_ASPECT, v)
    alpha = np.clip((1 - radius) / OVAL_EDGE + 0.5, 0, 1).astype(np.float32)
    # v = -1 and 1 are the crop's upper and lower edge.
    maps = [((t + 1) / 2 * crop.shape[0] - 0.5).astype(np.float32) for t in (u, v)]
    image = cv2.remap(crop, *maps, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
    size = (width + 2 * margin, height + 2 * margin)
    image = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    alpha = cv2.resize(alpha, size, interpolation=cv2.INTER_AREA)
    if blur:
        image = cv2.GaussianBlur(image, (0, 0), max(0.02 * blur * height, 0.3))
    return Patch(image.reshape(*alpha.shape, -1), alpha, margin)


def make_images(
    source: Source, settings: Settings, split: str
) -> Iterator[tuple[str, np.ndarray, list[Face]]]:
    """Draw the images of a split.

    Each has a random generator of its own, so image i does not depend on how many
    there are.

    Yields:
        Path below ``WIDER_<split>/images``, image (uint8 BGR), faces.
    """
    names = sorted(source.photos)
    for index in range(getattr(settings, f'num_{split}')):
        event = index % len(names)
        rng = np.random.default_rng([settings.seed, split == 'val', index])
        image, faces = Painter(source, settings, rng).paint(names[event])
        title = Path(names[event]).stem.title()
        path = f'{event}--{title}/{event}_{title}_{split}_{index:05d}.jpg'
        yield path, image, faces


def annotation_file(folder: Path, split: str) -> Path:
    """Tell where the annotation of a split lies below ``folder``."""
    return folder / 'wider_face_split' / f'wider_face_{split}_bbx_gt.txt'


def write_split(folder: Path, source: Source, settings: Settings, split: str) -> None:
    """Write the images and the annotation of one split below ``folder``."""
    count = getattr(settings, f'num_{split}')
    entries = []
    images = make_images(source, settings, split)
    for path, image, faces in tqdm(images, split, count, unit='image', mininterval=0.5):
        file = folder / f'WIDER_{split}' / 'images' / path
        file.parent.mkdir(parents=True, exist_ok=True)
        quality = (cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY)
        file.write_bytes(cv2.imencode('.jpg', image, quality)[1].tobytes())
        # An image without faces has a row of zeros nevertheless.
        rows = [face.row() for face in faces] or ['0 ' * 10]
        entries.append((path, '\n'.join([path, str(len(faces)), *rows]) + '\n'))
    entries.sort(key=lambda entry: (int(entry[0].split('--')[0]), entry[0]))
    text = ''.join(entry for _, entry in entries)
    annotation = annotation_file(folder, split)
    annotation.parent.mkdir(exist_ok=True)
    annotation.write_text(text, encoding='utf-8', newline='\n')


def describe(settings: Settings, folder: Path) -> dict:
    """Collect all that determines the data set, for the settings file."""
    names = sorted({'lfw_subset.npy', *PHOTOS['train'], *PHOTOS['val']})
    material = hashlib.sha256()
    for name in names:
        material.update((folder / name).read_bytes())
    return dict(
        made_by='tools/dataset_converters/make_face_mosaic.py',
        recipe=RECIPE,
        material_sha256=material.hexdigest(),
        **asdict(settings),
    )


def is_finished(out: Path, description: dict, force: bool) -> bool:
    """Say whether ``out`` holds this mosaic already, in full.

    Args:
        out: The folder asked for.
        description: What it should hold.
        force: Whether another mosaic there may be replaced.

    Raises:
        MosaicError: If it holds something else that must not be overwritten.
    """
    if not out.exists():
        return False
    if not out.is_dir():
        raise MosaicError(f'{out} is a file')
    if not any(out.iterdir()):
        return False
    settings_file = out / SETTINGS_FILE
    if not settings_file.is_file():
        raise MosaicError(
            f'{out} is not empty and was not made by this tool (no {SETTINGS_FILE}), '
            'so it is left alone, with --force too; choose another folder'
        )
    if force:
        return False
    try:
        found = json.loads(settings_file.read_text(encoding='utf-8'))
    except ValueError as error:
        raise MosaicError(
            f'{settings_file} cannot be read ({error}); --force makes the mosaic anew'
        ) from error
    changes = ', '.join(
        f'{name} {found.get(name)} -> {description.get(name)}'
        for name in sorted({*found, *description})
        if found.get(name) != description.get(name)
    )
    if changes:
        raise MosaicError(
            f'{out} holds a mosaic with other settings ({changes}); --force replaces it'
        )
    for split in PHOTOS:
        wanted = description[f'num_{split}']
        number = len(list((out / f'WIDER_{split}').glob('images/*/*.jpg')))
        annotation = annotation_file(out, split)
        if number != wanted:
            damage = f'{number} of {wanted} {split} images'
        elif not annotation.is_file():
            damage = f'{annotation.name} is missing'
        else:
            continue
        raise MosaicError(f'{out} is damaged: {damage}; --force makes the mosaic anew')
    return True


def build(out: Path, settings: Settings, force: bool = False) -> bool:
    """Make the data set in ``out``, unless it is there already; say whether.

    It grows in a hidden folder beside ``out`` and gets its name at the very end. With
    ``force`` it replaces a mosaic with other settings, or the same one.

    Raises:
        MosaicError: If ``out`` holds something else, or raw material is missing.
    """
    folder = data_folder()
    sources = load_sources(folder)
    description = describe(settings, folder)
    if is_finished(out, description, force):
        return False
    out = out.resolve()
    out.parent.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix=f'.{out.name}.partial-', dir=out.parent))
    try:
        new = work / 'new'
        new.mkdir()
        for split, source in sources.items():
            write_split(new, source, settings, split)
        text = json.dumps(description, indent=2) + '\n'
        (new / SETTINGS_FILE).write_text(text, encoding='utf-8')
        old = work / 'old'
        if out.exists():
            out.rename(old)
        try:
            new.rename(out)
        except BaseException:
            if old.exists():
                old.rename(out)
            raise
    finally:
        shutil.rmtree(work)
    return True


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__.split('\n\n')[0],
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument('out', type=Path, help='folder to make')
    for setting in fields(Settings):
        option = '--' + setting.name.replace('_', '-')
        kind, value = type(setting.default), setting.default
        parser.add_argument(option, type=kind, default=value, **setting.metadata)
    parser.add_argument(
        '--force', action='store_true', help='replace a mosaic that is there'
    )
    options = vars(parser.parse_args(arguments))
    out, force = options.pop('out'), options.pop('force')
    try:
        if build(out, Settings(**options), force):
            print(f'Face mosaic made in {out}')
        else:
            print(f'Face mosaic in {out} is there already, nothing to do')
    except MosaicError as error:
        print(f'make_face_mosaic: error: {error}', file=sys.stderr)
        return 1
    return 0


if __name__ == '__main__':
    sys.exit(main())
