"""Numbers the faces of videos."""

from dataclasses import replace

import numpy as np

from .face_detections import FaceDetections
from .frames import Frame
from .sources import Source
from .video_writer import DEFAULT_FPS


class FaceTracker:
    """Gives a face the same id in all frames of a video: ByteTrack, of ``trackers``.

    Ids count from 0 in each video. A face gets its id in the second frame that it is
    found in, and keeps it when it comes back within a second.

    Args:
        every: Only each so many frames come. Defaults to 1.

    Raises:
        ImportError: If ``trackers`` is missing.
    """

    def __init__(self, every: int = 1) -> None:
        try:
            from trackers import ByteTrackTracker
        except ImportError as error:
            raise ImportError(
                f'tracks need trackers: pip install "mmdet_srn[track]" ({error})'
            ) from error
        self._make, self._every = ByteTrackTracker, every
        self._source: Source | None = None

    def __call__(self, frame: Frame, faces: FaceDetections) -> FaceDetections:
        """Return the faces of the next frame with ``ids``; those of images without."""
        from supervision import Detections

        if frame.index is None:
            return faces
        if frame.source is not self._source:
            self._source = frame.source
            # What the detector gives is a face, and may start a track.
            self._tracker = self._make(
                frame_rate=(frame.fps or DEFAULT_FPS) / self._every,
                track_activation_threshold=0,
                high_conf_det_threshold=0,
                minimum_consecutive_frames=1,
            )
        order = np.arange(len(faces))
        found = self._tracker.update(
            Detections(faces.bboxes, confidence=faces.scores, data=dict(order=order))
        )
        ids = np.full(len(faces), -1)
        if len(found):  # in another order
            ids[found.data['order']] = found.tracker_id
        return replace(faces, ids=ids)
