"""SRN, the Selective Refinement Network face detector, for MMDetection.

Importing the package checks the OpenMMLab stack and registers its components
in ``mmdet.registry``. It also limits the images that OpenCV decodes to 2**28 pixels
(800 MB; OpenCV's own limit is 3.2 GB), which takes effect if cv2 is not imported
before; OPENCV_IO_MAX_IMAGE_PIXELS in the environment goes first. It does nothing else.
"""

import os

os.environ.setdefault('OPENCV_IO_MAX_IMAGE_PIXELS', str(2**28))

from mmdet_srn._stack import check_stack
from mmdet_srn.version import __version__

check_stack()

from mmdet_srn import datasets, engine, evaluation, models  # noqa: E402
from mmdet_srn.detector import FaceDetector  # noqa: E402

__all__ = [
    'FaceDetector',
    '__version__',
    'datasets',
    'engine',
    'evaluation',
    'models',
]
