"""Detection in images and videos: FaceDetector, and what the command is made of."""

from .face_detections import FaceDetections
from .face_detector import FaceDetector
from .images import ImageError

__all__ = ['FaceDetections', 'FaceDetector', 'ImageError']
