"""Errors of a data set's pipeline that name the image."""

from typing import Any

from mmengine import fileio


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
