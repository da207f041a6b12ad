"""Evaluation of face detectors.

NumPy is enough, but for :class:`WIDERFaceMetric`, which is imported when it is asked
for and needs mmdet, ``parity`` (SciPy), ``fddb`` (SciPy, OpenCV), plots (matplotlib)
and .mat files of version 7.3 (h5py).
"""

from .._lazy import lazy_names
from .face_ap import FaceAP, ImageFaces, evaluate_face_ap, read_instances
from .wider_face_eval import (
    SubsetResult,
    WIDERFaceDetections,
    evaluate_wider_face,
)
from .wider_face_ground_truth import WIDERFaceGroundTruth, read_ground_truth
from .wider_face_results import read_results, write_results

__all__ = [
    'FaceAP',
    'ImageFaces',
    'SubsetResult',
    'WIDERFaceDetections',
    'WIDERFaceGroundTruth',
    'WIDERFaceMetric',
    'evaluate_face_ap',
    'evaluate_wider_face',
    'read_ground_truth',
    'read_instances',
    'read_results',
    'write_results',
]

__getattr__ = lazy_names(__name__, {'WIDERFaceMetric': '.wider_face_metric'})
