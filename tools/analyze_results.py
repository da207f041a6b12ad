"""Draws the best and the worst images of a test: mmdet's own analyze_results.

All of its options hold; nothing is copied from it. It takes from the training how
images are loaded, and knows LoadImageFromFile alone: LoadSquareCrop, which loads a part
of an image, gives way to it here. Results that could run code are refused.
"""

import mmdet.datasets
import mmengine.fileio
from mmdet.registry import TRANSFORMS

from mmdet_srn._mmdet_tools import run_mmdet_tool
from mmdet_srn.datasets.transforms import LoadSquareCrop
from mmdet_srn.evaluation.prediction_file import read_predictions


def loading_pipeline(pipeline: list[dict]) -> list[dict]:
    """Keep the steps that load a whole image and its annotation.

    Args:
        pipeline: The config's steps of training.
    """
    steps = [
        dict(type='LoadImageFromFile', backend_args=step.get('backend_args'))
        if issubclass(TRANSFORMS.get(step['type']), LoadSquareCrop)
        else step
        for step in pipeline
    ]
    return mmdet.datasets.utils.get_loading_pipeline(steps)


if __name__ == '__main__':
    mmdet.datasets.get_loading_pipeline = loading_pipeline
    mmengine.fileio.load = read_predictions
    run_mmdet_tool('analysis_tools/analyze_results')
