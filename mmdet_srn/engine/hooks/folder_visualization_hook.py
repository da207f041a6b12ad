"""Drawn images keep their folders."""

import os.path as osp
from collections.abc import Sequence

from mmdet.engine.hooks import DetVisualizationHook
from mmdet.registry import HOOKS
from mmdet.structures import DetDataSample
from mmengine.runner import Runner

from mmdet_srn.evaluation.image_names import name_images


@HOOKS.register_module()
class FolderVisualizationHook(DetVisualizationHook):
    """mmdet's ``DetVisualizationHook``, keeping image folders below ``--show-dir``.

    mmdet's own writes images of one name in two folders to one file.
    """

    def before_test(self, runner: Runner) -> None:
        """Name all images."""
        self._folders = {}
        if self.draw and self.test_out_dir is not None:
            dataset = runner.test_loop.dataloader.dataset
            paths = [dataset.get_data_info(i)['img_path'] for i in range(len(dataset))]
            names = map(osp.dirname, name_images(paths))
            self._folders = dict(zip(paths, names, strict=True))

    def after_test_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: dict,
        outputs: Sequence[DetDataSample],
    ) -> None:
        """Draw the images of a batch."""
        root = self.test_out_dir
        for sample in outputs:
            if self._folders:
                self.test_out_dir = osp.join(root, self._folders[sample.img_path])
            super().after_test_iter(runner, batch_idx, data_batch, [sample])
            self.test_out_dir = root
