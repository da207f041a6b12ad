"""SRN, the Selective Refinement Network face detector, for MMDetection.

Importing the package checks the OpenMMLab stack and registers its components
in ``mmdet.registry``; it does nothing else.
"""

from mmdet_srn._stack import check_stack
from mmdet_srn.version import __version__

check_stack()

from mmdet_srn import datasets, engine, evaluation, models  # noqa: E402
from mmdet_srn.inference import FaceDetector  # noqa: E402

__all__ = [
    'FaceDetector',
    '__version__',
    'datasets',
    'engine',
    'evaluation',
    'models',
]
