"""WIDER FACE, or any data set in its text layout, as an mmdet data set."""

import os.path as osp
from collections import Counter
from collections.abc import Iterable
from itertools import chain
from typing import Any, Literal

import numpy as np
from mmdet.datasets import BaseDetDataset
from mmdet.registry import DATASETS
from mmengine import fileio
from mmengine.logging import print_log

from .exif import displayed_size
from .formats import hint
from .named_errors import NamedErrors
from .wider_face_txt_reader import (
    ATTRIBUTES,
    FACE_FIELDS,
    AnnotationError,
    ImageRecord,
    parse_wider_face_txt,
)

_INVALID = FACE_FIELDS.index('invalid')
_INSTANCE = ('bbox', 'bbox_label', 'ignore_flag', *ATTRIBUTES)
_FILTERS = {'filter_empty_gt', 'min_size', 'bbox_min_size'}

_HELP = """
Expected is the official layout of WIDER FACE below data_root:
  WIDER_train/images/<event>/<name>.jpg                  (from WIDER_train.zip)
  WIDER_val/images/<event>/<name>.jpg                    (from WIDER_val.zip)
  wider_face_split/wider_face_{{train,val}}_bbx_gt.txt   (from wider_face_split.zip)
The archives are on the official WIDER FACE page, \
http://shuoyang1213.me/WIDERFACE/ ; unpack them into one folder. \
data_root is {root!r}; change it with --cfg-options \
train_dataloader.dataset.data_root=DIR val_dataloader.dataset.data_root=DIR \
test_dataloader.dataset.data_root=DIR"""


@DATASETS.register_module()
class WIDERFaceTxtDataset(NamedErrors, BaseDetDataset):
    """Data set in WIDER FACE's official text annotation and folders.

    ``get_data_info(i)`` is::

        dict(
            img_id='0--Parade/0_Parade_marchingband_1_465',  # path, no suffix
            img_path='<data_prefix>/0--Parade/0_Parade_marchingband_1_465.jpg',
            event='0--Parade',
            sample_idx=i,
            instances=[
                dict(
                    bbox=[x1, y1, x2, y2],  # x, y, x + w, y + h as floats: pixels
                                            # of the original image, not clipped
                    bbox_label=0,
                    ignore_flag=0,          # 1: PackDetInputs puts the face into
                                            # ignored_instances
                    blur=2, expression=0, illumination=0,
                    invalid=0, occlusion=2, pose=0),  # as annotated
            ])

    An item of ``data_list`` is smaller, as each worker may hold all of them: instead
    of the instances, ``faces`` lists the numbers of all face rows as annotated.

    The annotation does not give the images' sizes: ``height`` and ``width`` are
    missing. ``LoadImageFromFile`` sets ``img_shape`` and ``ori_shape``, which is all
    that the transforms and the detectors use.

    The pipeline does not touch ``instances``: with that name in the ``meta_keys`` of
    PackDetInputs an evaluation gets the faces in the original image.

    A warning tells of boxes that look like x1, y1, x2, y2; for it the headers of up to
    100 images are read.

    The test split's ``wider_face_test_filelist.txt`` works as ``ann_file``, too: no
    image has faces then.

    An ignored face is never a positive. To keep anchors on it from being negatives the
    assigner must look at ignored boxes: mmdet's ``MaxIoUAssigner`` does if
    ``ignore_iof_thr`` is above 0, which is not its default.

    Args:
        invalid_faces: What to do with faces that the annotation calls invalid (585 of
            val): 'keep' them like any other, 'ignore' them (``ignore_flag`` 1) or
            'drop' them. Defaults to 'ignore'.
        degenerate_boxes: What to do with boxes whose width or height is zero or less
            (11 of val, one of them of width -2): 'ignore' or 'drop'. They are never
            trained on, but the official evaluation counts them. Defaults to 'ignore'.
        filter_cfg: As in mmdet, in training only (``test_mode=False``).
            ``filter_empty_gt`` (bool, default False): leave out images all of whose
            faces are ignored. ``bbox_min_size`` (pixels): ignore faces with a smaller
            side. ``min_size`` (pixels): leave out images with a smaller side, for
            which the headers of all image files are read.
        **kwargs: Arguments of :class:`mmdet.datasets.BaseDetDataset`. ``ann_file`` is
            the text file, ``data_prefix=dict(img=...)`` the folder of the events; both
            may be relative to ``data_root``.

    Raises:
        FileNotFoundError: If the annotation file, the image folder or a listed image
            is missing.
        AnnotationError: If the annotation is malformed (names file and line).
    """

    METAINFO = dict(classes=('face',), palette=[(0, 255, 0)])

    def __init__(
        self,
        *args: Any,
        invalid_faces: Literal['keep', 'ignore', 'drop'] = 'ignore',
        degenerate_boxes: Literal['ignore', 'drop'] = 'ignore',
        filter_cfg: dict | None = None,
        **kwargs: Any,
    ) -> None:
        for name, value, known in (
            ('invalid_faces', invalid_faces, ('keep', 'ignore', 'drop')),
            ('degenerate_boxes', degenerate_boxes, ('ignore', 'drop')),
        ):
            if value not in known:
                raise ValueError(f'{name} must be one of {known}, not {value!r}')
        if unknown := set(filter_cfg or ()) - _FILTERS:
            names = sorted(_FILTERS)
            raise ValueError(f'filter_cfg knows {names}, not {sorted(unknown)}')
        self.invalid_faces = invalid_faces
        self.degenerate_boxes = degenerate_boxes
        super().__init__(*args, filter_cfg=filter_cfg, **kwargs)

    def load_data_list(self) -> list[dict]:
        """Read the annotation."""
        self._check_files()
        text = fileio.get(self.ann_file, backend_args=self.backend_args)
        try:
            records = parse_wider_face_txt(text, self.ann_file)
        except AnnotationError as error:
            raise AnnotationError(f'{error}{hint(self.ann_file)}') from error
        if not records:
            raise ValueError(f'{self.ann_file} lists no images')
        if not self.test_mode and not records[0].annotated:
            raise AnnotationError(
                f'{self.ann_file} names no faces{hint(self.ann_file)}'
            )
        data_list = [self.parse_data_info(record) for record in records]
        if self.backend_args is None:
            self._report_corners(data_list)
        return data_list

    def _report_corners(self, data_list: list[dict]) -> None:
        """Warn if boxes of the first images look like x1 y1 x2 y2."""
        with_faces = [info for info in data_list if info['faces']]
        boxes, sizes = np.zeros((0, 4)), np.zeros((0, 2))
        for info in with_faces[:100]:  # headers are read: enough to tell
            if size := displayed_size(info['img_path']):
                rows = _rows(info['faces'])[:, :4].astype(float)
                rows[:, 2:] += rows[:, :2]
                boxes = np.concatenate((boxes, rows))
                sizes = np.concatenate((sizes, np.tile(size, (len(rows), 1))))
        self.warn_of_corners(boxes, sizes)

    def parse_data_info(self, record: ImageRecord) -> dict:
        """Turn one image of the annotation into an item of ``data_list``."""
        return dict(
            img_id=record.img_id,
            img_path=fileio.join_path(self.data_prefix.get('img', ''), record.path),
            # Small whole numbers pickle to two or three bytes each, a dict of them
            # to eighty a face.
            faces=record.faces.ravel().tolist(),
        )

    def get_data_info(self, idx: int) -> dict:
        """Get the dict of an image that the class describes."""
        info = super().get_data_info(idx)
        info['event'] = info['img_id'].rpartition('/')[0]
        faces = _rows(info.pop('faces'))
        verdict = self._judge(faces)
        kept = ~verdict['dropped']
        ignored = verdict['ignored'][kept].astype(int).tolist()
        bboxes = faces[kept, :4].astype(float)
        bboxes[:, 2:] += bboxes[:, :2]
        attributes = faces[kept, 4:].tolist()
        info['instances'] = [
            dict(zip(_INSTANCE, (bbox, 0, flag, *rest), strict=True))
            for bbox, flag, rest in zip(
                bboxes.tolist(), ignored, attributes, strict=True
            )
        ]
        return info

    def _judge(self, faces: np.ndarray) -> dict[str, np.ndarray]:
        """Make masks (N,) of rows (N, 10): what is wrong, and what that leads to."""
        side = faces[:, 2:4].min(axis=1)
        invalid = faces[:, _INVALID] != 0
        degenerate = side <= 0
        small = (side < self._filter('bbox_min_size')) & ~degenerate
        none = np.zeros(len(faces), bool)
        masks = {'keep': none, 'ignore': small, 'drop': none}
        masks[self.invalid_faces] = masks[self.invalid_faces] | invalid
        masks[self.degenerate_boxes] = masks[self.degenerate_boxes] | degenerate
        return dict(
            invalid=invalid,
            degenerate=degenerate,
            small=small,
            dropped=masks['drop'],
            ignored=masks['ignore'] & ~masks['drop'],
        )

    def filter_data(self) -> list[dict]:
        """Apply ``filter_cfg`` and log what was read, in one line.

        Raises:
            ValueError: If no image stays or, in training, no face is to be found.
        """
        faces = _rows(chain.from_iterable(info['faces'] for info in self.data_list))
        verdict = self._judge(faces)
        counts = Counter({name: int(mask.sum()) for name, mask in verdict.items()})
        counts.update(images=len(self.data_list), faces=len(faces))
        # Faces to find among the first 0, 1, 2... faces, then in each image.
        to_find = np.r_[0, np.cumsum(~verdict['ignored'] & ~verdict['dropped'])]
        sizes = [len(info['faces']) // len(FACE_FIELDS) for info in self.data_list]
        to_find = np.diff(to_find[np.r_[0, np.cumsum(sizes)]])
        kept = []
        for info, number in zip(self.data_list, to_find.tolist(), strict=True):
            counts['empty'] += not number
            if not number and self._filter('filter_empty_gt'):
                counts['empty_removed'] += 1
            elif self._is_small(info['img_path']):
                counts['small_removed'] += 1
            else:
                kept.append(info)
        print_log(self._summary(len(kept), counts), logger='current')
        # Scenes without faces are welcome where they are asked for.
        negatives = not len(faces) and self._filter('filter_empty_gt') is False
        if not to_find.any() and not self.test_mode and not negatives:
            raise ValueError(
                f'{self.ann_file} has no face to find: its {len(faces)} faces are all '
                'ignored or dropped'
            )
        if not kept:
            raise ValueError(
                f'filter_cfg={self.filter_cfg} leaves none of the '
                f'{counts["images"]} images of {self.ann_file}'
            )
        return kept

    def _summary(self, kept: int, counts: Counter[str]) -> str:
        """Say in one line what was read, without what did not happen."""
        images = _brackets(
            (counts['empty'], 'without faces to find'),
            (counts['empty_removed'], 'of these removed'),
            (counts['small_removed'], 'removed as too small'),
        )
        faces = _brackets(
            (counts['ignored'], 'ignored'),
            (counts['dropped'], 'dropped'),
            (counts['invalid'], f'invalid: {self.invalid_faces}'),
            (counts['degenerate'], f'degenerate: {self.degenerate_boxes}'),
            (counts['small'], 'below bbox_min_size: ignore'),
        )
        return (
            f'{self.ann_file}: {kept} of {counts["images"]} images used{images}, '
            f'{counts["faces"]} faces{faces}'
        )

    def _filter(self, name: str) -> Any:
        """Get a value of ``filter_cfg``; 0, which is off, by default and in a test."""
        return 0 if self.test_mode else (self.filter_cfg or {}).get(name, 0)

    def _is_small(self, path: str) -> bool:
        """Say whether a side of the image is below ``min_size``."""
        limit = self._filter('min_size')
        if not limit:
            return False
        with fileio.get_local_path(path, backend_args=self.backend_args) as local:
            size = displayed_size(local)
        # An image that cannot be read stops the run later, with its name.
        return size is not None and min(size) < limit

    def _check_files(self) -> None:
        """Say what to put where if a file is missing."""
        help_text = _HELP.format(root=self.data_root)
        if not fileio.isfile(self.ann_file, backend_args=self.backend_args):
            raise FileNotFoundError(f'no annotation file {self.ann_file!r}.{help_text}')
        folder = self.data_prefix.get('img', '')
        # Only a disk is sure to know folders; object stores need not.
        if self.backend_args is None and '://' not in folder:
            if not osp.isdir(folder):
                raise FileNotFoundError(f'no image folder {folder!r}.{help_text}')


def _rows(numbers: Iterable[int]) -> np.ndarray:
    """Make face rows, int32 (N, 10), of their numbers in one sequence."""
    return np.fromiter(numbers, np.int32).reshape(-1, len(FACE_FIELDS))


def _brackets(*parts: tuple[int, str]) -> str:
    """Put the parts whose number is not 0 into brackets after a space."""
    text = '; '.join(f'{number} {text}' for number, text in parts if number)
    return f' ({text})' if text else ''
