"""Faces annotated in COCO's JSON: mmdet's data set, which reports what it ignores."""

import logging
import os.path as osp
from collections import Counter
from typing import Any

import numpy as np
from mmdet.datasets import CocoDataset
from mmdet.registry import DATASETS
from mmengine import fileio
from mmengine.logging import print_log

from .coco_json_reader import (
    REASONS,
    describe_categories,
    judge_face,
    parse_coco_json,
)
from .exif import displayed_size
from .named_errors import NamedErrors


@DATASETS.register_module()
class FaceCocoDataset(NamedErrors, CocoDataset):
    """mmdet's CocoDataset that reports what it does not use.

    Faces that CocoDataset does not use, such as those of another category or of area
    0, are counted in a warning, or in an error where nothing is left. Faces with NaN
    are left out, too, and so are, with ``filter_empty_gt`` in training, images all of
    whose faces are left out or ignored.

    The headers of all images are read, and a warning counts those of another size than
    the JSON says: boxes must be in pixels of the image as displayed, i.e. after a
    rotation by EXIF. Another one tells of boxes that look like x1, y1, x2, y2.

    Args:
        *args: As :class:`mmdet.datasets.CocoDataset`.
        **kwargs: Likewise.

    Raises:
        AnnotationError: If the JSON is malformed or something is missing in it (names
            file and image).
        ValueError: If there is no face to find, or if ``metainfo.classes`` are not in
            the order of the categories, by which mmdet numbers them.
    """

    METAINFO = dict(classes=('face',), palette=[(0, 255, 0)])

    def load_data_list(self) -> list[dict]:
        """Read the annotation and report what is not used of it."""
        data = fileio.get(self.ann_file, backend_args=self.backend_args)
        content = parse_coco_json(data, self.ann_file)
        self._verdicts: Counter[str] = Counter()
        data_list = super().load_data_list()
        self._report_faces(content, data_list)
        self._check_order(content)
        self._report_corners(data_list)
        if self.backend_args is None:
            self._report_sizes(data_list)
        return data_list

    def parse_data_info(self, raw_data_info: dict) -> dict:
        """Turn an image and its annotations into an item of ``data_list``."""
        image, faces = raw_data_info['raw_img_info'], raw_data_info['raw_ann_info']
        verdicts = [judge_face(face, image, self.cat_ids) for face in faces]
        self._verdicts.update(verdicts)
        used = [face for face, why in zip(faces, verdicts, strict=True) if not why]
        image['file_name'] = image['file_name'].replace('\\', '/')  # Windows'
        return super().parse_data_info(dict(raw_data_info, raw_ann_info=used))

    def filter_data(self) -> list[dict]:
        """Apply ``filter_cfg``; refuse to leave no image."""
        kept = super().filter_data()
        if not self.test_mode and (self.filter_cfg or {}).get('filter_empty_gt'):
            kept = [info for info in kept if _to_find(info)]
        if not kept:
            raise ValueError(
                f'filter_cfg={self.filter_cfg} leaves none of the '
                f'{len(self.data_list)} images of {self.ann_file}'
            )
        return kept

    def _report_faces(self, content: dict[str, Any], data_list: list[dict]) -> None:
        total, used = len(content['annotations']), self._verdicts['']
        self._verdicts['image'] += total - self._verdicts.total()
        left_out = '; '.join(
            f'{self._verdicts[why]} {text}'
            for why, text in REASONS.items()
            if self._verdicts[why]
        )
        message = f'{self.ann_file}: {used} of {total} faces used'
        message += f' ({left_out})' if left_out else ''
        if self._verdicts['category']:
            names = describe_categories(content)
            message += (
                f'; its categories are {names}, metainfo.classes is '
                f'{self.metainfo["classes"]}'
            )
        # A test set without annotation may be wanted for its detections.
        if not any(map(_to_find, data_list)) and (total or not self.test_mode):
            raise ValueError(f'{message}: no face to find')
        level = logging.WARNING if left_out else logging.INFO
        print_log(message, logger='current', level=level)

    def _report_corners(self, data_list: list[dict]) -> None:
        rows = [
            (face['bbox'], (info['width'], info['height']))
            for info in data_list
            for face in info['instances']
        ]
        if rows:
            self.warn_of_corners(*map(np.array, zip(*rows, strict=True)))

    def _check_order(self, content: dict[str, Any]) -> None:
        classes = tuple(self.metainfo['classes'])
        names = {entry['id']: entry['name'] for entry in content['categories']}
        found = tuple(names[number] for number in self.cat_ids)
        if found != classes[: len(found)]:
            raise ValueError(
                f'{self.ann_file}: its categories of metainfo.classes are {found}, in '
                f'this order; {classes} would get the labels of others'
            )

    def _report_sizes(self, data_list: list[dict]) -> None:
        other, turned = [], 0
        for info in data_list:
            size = displayed_size(info['img_path'])
            annotated = (info['width'], info['height'])
            if size not in (None, annotated):
                other.append(
                    f'{osp.basename(info["img_path"])} is {size[0]}x{size[1]} as '
                    f'displayed, not {annotated[0]}x{annotated[1]}'
                )
                turned += size == annotated[::-1]
        if other:
            print_log(
                f'{self.ann_file}: {len(other)} of {len(data_list)} images have '
                f'another size than it says, {turned} of them turned by 90 degrees '
                '(as before an EXIF rotation); boxes must be in pixels of the image as '
                f'displayed. Such as {other[0]}',
                logger='current',
                level=logging.WARNING,
            )


def _to_find(info: dict) -> bool:
    """Whether an image has a face that is not ignored."""
    return any(not face['ignore_flag'] for face in info['instances'])
