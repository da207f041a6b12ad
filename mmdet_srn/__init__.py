"""SRN, the Selective Refinement Network face detector, for MMDetection.

Where mmdet is installed, importing the package registers its components in
``mmdet.registry`` and makes mmengine read checkpoints safely. Without mmdet, or with
MMDET_SRN_LIGHT=1 in the environment, it imports nothing else: ``evaluation`` and
``FaceDetector()`` work without PyTorch; :func:`register` does the rest.

OpenCV gets a limit of 2**28 pixels an image (800 MB; its own allows 3.2 GB), if cv2 is
not yet imported; OPENCV_IO_MAX_IMAGE_PIXELS in the environment takes precedence.
Likewise onnxruntime (1.29 and later) reports its use to Microsoft only with
ORT_DISABLE_TELEMETRY=0.
"""

import os
from typing import TYPE_CHECKING, Any

os.environ.setdefault('OPENCV_IO_MAX_IMAGE_PIXELS', str(2**28))
os.environ.setdefault('ORT_DISABLE_TELEMETRY', '1')

from mmdet_srn._lazy import lazy_names
from mmdet_srn._stack import check_stack, import_datasets, use_mmdet
from mmdet_srn.version import __version__

if TYPE_CHECKING:
    from mmdet_srn import datasets, engine, evaluation, models
    from mmdet_srn.detector import FaceDetector

__all__ = [
    'FaceDetector',
    '__version__',
    'datasets',
    'engine',
    'evaluation',
    'models',
    'register',
]


def register() -> None:
    """Register all components in ``mmdet.registry``.

    Raises:
        ImportError: If the OpenMMLab stack is missing or broken.
    """
    check_stack()
    import_datasets()
    from mmdet_srn import datasets, engine, evaluation, models

    for room in (datasets, engine, evaluation, models):
        for name in room.__all__:
            getattr(room, name)


if use_mmdet():
    register()

_import_name = lazy_names(
    __name__,
    {
        'FaceDetector': '.detector',
        'datasets': '.datasets',
        'engine': '.engine',
        'evaluation': '.evaluation',
        'models': '.models',
    },
)


def __getattr__(name: str) -> Any:
    if name in ('engine', 'models'):
        check_stack()  # says what to install
    return _import_name(name)
