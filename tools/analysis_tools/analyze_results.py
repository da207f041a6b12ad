"""Draw the best and the worst images of a test: mmdet's own analyze_results.

All of its options work. mmdet takes image loading from the training pipeline and only
knows LoadImageFromFile, which replaces LoadSquareCrop (part of an image) here. Results
that could run code are refused.
"""

import mmdet.datasets
import mmengine.fileio
from mmdet.registry import TRANSFORMS

from mmdet_srn._mmdet_tools import run_mmdet_tool
from mmdet_srn.datasets.transforms import LoadSquareCrop
from mmdet_srn.evaluation.prediction_file import read_predictions


def loading_pipeline(pipeline: list[dict]) -> list[dict]:
    """Keep the training steps that load a whole image and its annotation."""
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
