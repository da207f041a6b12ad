"""The official WIDER FACE evaluation's ground truth; NumPy and SciPy only."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from .mat_file import load_mat

#: The official subsets, in the order in which results are quoted.
SUBSETS = ('easy', 'medium', 'hard')
#: Attributes that the .mat files carry for each face, as in the text annotation.
ATTRIBUTES = ('blur', 'expression', 'illumination', 'invalid', 'occlusion', 'pose')
#: Images of the whole validation split.
NUM_VAL_IMAGES = 3226

_HELP = """
The official ground truth is the folder eval_tools/ground_truth of the evaluation kit \
(eval_tools.zip, "Evaluation code" on http://shuoyang1213.me/WIDERFACE/ ). Give the \
folder that holds wider_easy_val.mat, wider_medium_val.mat and wider_hard_val.mat."""


@dataclass(frozen=True)
class WIDERFaceGroundTruth:
    """All faces of the evaluated images: those of image i from offsets[i] on."""

    names: tuple[str, ...]  # 'event/name' of each of the N images, without suffix
    bboxes: np.ndarray  # int32 (G, 4): x, y, w, h in pixels, as annotated
    offsets: np.ndarray  # int64 (N + 1,)
    subsets: dict[str, np.ndarray]  # name -> bool (G,), the faces to be found
    attributes: dict[str, np.ndarray] = field(default_factory=dict)  # name -> int (G,)

    @classmethod
    def from_images(
        cls,
        names: Sequence[str],
        bboxes: Sequence[np.ndarray],
        subsets: Mapping[str, Sequence[Sequence[int]]],
        attributes: Mapping[str, Sequence[Sequence[int]]] | None = None,
    ) -> 'WIDERFaceGroundTruth':
        """Build from one entry per image.

        Args:
            names: ``event/name`` of each image.
            bboxes: Whole numbers (G_i, 4) of each image: x, y, w, h.
            subsets: Subset -> for each image the rows (from 0) of its faces.
            attributes: Attribute -> for each image one value per face.

        Raises:
            ValueError: If names repeat, lengths differ, boxes are not whole numbers of
                int32, or a subset lists a row that does not exist or is listed twice.
        """
        if len(set(names)) != len(names):
            raise ValueError('image names of the ground truth repeat')
        columns = {'boxes': bboxes, **subsets, **(attributes or {})}
        for what, values in columns.items():
            if len(values) != len(names):
                raise ValueError(
                    f'{what}: {len(values)} entries for {len(names)} images'
                )
        counts = [len(boxes) for boxes in bboxes]
        offsets = np.concatenate(([0], np.cumsum(counts, dtype=np.int64)))
        masks = {
            subset: _row_mask(names, counts, rows, subset)
            for subset, rows in subsets.items()
        }
        flat = {
            attribute: _per_face(names, counts, values, attribute)
            for attribute, values in (attributes or {}).items()
        }
        return cls(tuple(names), _int32_boxes(bboxes), offsets, masks, flat)

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.names)

    def check_names(self, names: Iterable[str]) -> None:
        """Raise a ValueError if some images are not in the ground truth."""
        if unknown := sorted(set(names).difference(self.names)):
            raise ValueError(
                f'{len(unknown)} images are not in the ground truth: '
                f'{", ".join(unknown[:3])}{" ..." if len(unknown) > 3 else ""}'
            )

    def restrict(self, names: Iterable[str]) -> 'WIDERFaceGroundTruth':
        """Keep only some images (``event/name``), in the order of the ground truth."""
        wanted = set(names)
        self.check_names(wanted)
        keep = np.array([name in wanted for name in self.names], bool)
        counts = np.diff(self.offsets)
        faces = np.repeat(keep, counts)
        return WIDERFaceGroundTruth(
            tuple(name for name in self.names if name in wanted),
            self.bboxes[faces],
            np.concatenate(([0], np.cumsum(counts[keep]))),
            {subset: mask[faces] for subset, mask in self.subsets.items()},
            {name: values[faces] for name, values in self.attributes.items()},
        )


def read_ground_truth(folder: str | Path) -> WIDERFaceGroundTruth:
    """Read ``wider_{easy,medium,hard}_val.mat`` of a folder, with attributes.

    Raises:
        FileNotFoundError: If a file is missing; says where the files come from.
        ValueError: If the files are malformed or do not fit each other.
    """
    folder = Path(folder)
    paths = {subset: folder / f'wider_{subset}_val.mat' for subset in SUBSETS}
    if missing := [path.name for path in paths.values() if not path.is_file()]:
        raise FileNotFoundError(f'no {", ".join(missing)} in {str(folder)!r}.{_HELP}')
    first = paths[SUBSETS[0]]
    lists = [f'{attribute}_label_list' for attribute in ATTRIBUTES]
    common = ['event_list', 'file_list', 'face_bbx_list']
    try:
        content = load_mat(first, [*common, *lists])
        index = {s: load_mat(path, [*common, 'gt_list']) for s, path in paths.items()}
        for subset, path in paths.items():
            if not _same(content, index[subset]):
                raise ValueError(f'{path} and {first} list different images or faces')
        return _ground_truth(content, index, lists)
    # TypeError and AttributeError: variables of an unexpected kind, such as text.
    except (ValueError, TypeError, AttributeError) as error:
        raise ValueError(f'ground truth in {folder}: {error}{_HELP}') from error


def _ground_truth(
    content: dict[str, Any], index: dict[str, dict[str, Any]], lists: list[str]
) -> WIDERFaceGroundTruth:
    pairs = zip(content['event_list'], content['file_list'], strict=True)
    subsets = {
        # MATLAB counts from 1.
        subset: [rows.ravel().astype(np.int64) - 1 for rows in chain(*mat['gt_list'])]
        for subset, mat in index.items()
    }
    attributes = {
        attribute: [values.ravel() for values in chain(*content[name])]
        for attribute, name in zip(ATTRIBUTES, lists, strict=True)
    }
    return WIDERFaceGroundTruth.from_images(
        [f'{event}/{name}' for event, files in pairs for name in files],
        [*chain(*content['face_bbx_list'])],
        subsets,
        attributes,
    )


def _same(one: dict[str, Any], other: dict[str, Any]) -> bool:
    if any(one[key] != other[key] for key in ('event_list', 'file_list')):
        return False
    boxes, others = ([*chain(*each['face_bbx_list'])] for each in (one, other))
    return len(boxes) == len(others) and all(map(np.array_equal, boxes, others))


def _int32_boxes(bboxes: Sequence[np.ndarray]) -> np.ndarray:
    tables = [np.asarray(boxes, float).reshape(-1, 4) for boxes in bboxes]
    table = np.concatenate([np.zeros((0, 4)), *tables])
    rounded = table.astype(np.int32)
    if not np.array_equal(rounded, table):
        raise ValueError('a face of the ground truth is not in whole pixels (int32)')
    return rounded


def _row_mask(
    names: Sequence[str], counts: list[int], rows: Sequence[Sequence[int]], what: str
) -> np.ndarray:
    masks = [np.zeros(0, bool)]
    for name, count, image_rows in zip(names, counts, rows, strict=True):
        image_rows = np.asarray(image_rows, np.int64)
        mask = np.zeros(count, bool)
        if np.any((image_rows < 0) | (image_rows >= count)):
            raise ValueError(f'{what}: {name} has no such face')
        mask[image_rows] = True
        if np.count_nonzero(mask) != len(image_rows):
            raise ValueError(f'{what}: {name} lists a face twice')
        masks.append(mask)
    return np.concatenate(masks)


def _per_face(
    names: Sequence[str], counts: list[int], values: Sequence[Sequence[int]], what: str
) -> np.ndarray:
    for name, count, image_values in zip(names, counts, values, strict=True):
        if len(image_values) != count:
            raise ValueError(f'{what}: {name} does not have one value per face')
    return np.concatenate([np.zeros(0, np.int64), *map(np.asarray, values)])
