"""What data sets say of an image that fails, and of odd boxes."""

import logging
from typing import Any

import numpy as np
from mmengine import fileio
from mmengine.logging import print_log

from .formats import look_like_corners


class NamedErrors:
    """Mix-in for mmdet's data sets."""

    def prepare_data(self, idx: int) -> Any:
        """Run the pipeline on one image; an error names the image.

        Raises:
            FileNotFoundError: If the image is missing.
            RuntimeError: If the pipeline fails.
        """
        info = self.get_data_info(idx)
        path = info['img_path']
        try:
            return self.pipeline(info)
        except Exception as error:
            if not fileio.exists(path, backend_args=self.backend_args):
                raise FileNotFoundError(
                    f'{path} is missing, though {self.ann_file} lists it'
                ) from error
            raise RuntimeError(
                f'the pipeline failed on {path} (is it a whole image?): '
                f'{type(error).__name__}: {error}'
            ) from error

    def warn_of_corners(self, boxes: np.ndarray, sizes: np.ndarray) -> None:
        """Warn if boxes look like x1 y1 x2 y2; see :func:`look_like_corners`."""
        if look_like_corners(boxes, sizes):
            print_log(
                f'{self.ann_file}: boxes leave their image, and none would if the '
                'numbers were x1 y1 x2 y2, not x y w h: check_dataset.py shows them, '
                'convert_annotations.py --corners mends them',
                logger='current',
                level=logging.WARNING,
            )
