"""Fills gaps in a video: frames in which a face was not found, or not looked for."""

from bisect import bisect_left
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, replace
from operator import attrgetter
from typing import TypeAlias

import cv2
import numpy as np

from .face_detections import FaceDetections
from .frames import Frame
from .sources import Source

# Our choices. How far a face may be from where it is expected, for each frame and at
# most, in its own sides; and how many times as large or small it may be.
REACH, MOST_REACH, RATIO = 0.5, 1.5, 1.5
# How much the box of a face that is held grows on each side in a frame, in its sides.
GROWTH = 0.05
# The mean difference of two frames, made small, of 255, that is a scene cut. It is
# high: a camera that moves must not end the tracks.
CUT = 40.0


@dataclass(frozen=True, eq=False)
class _Seen:
    """A face in a frame; ``id`` is -1 if it has none."""

    frame: int
    box: np.ndarray
    score: float
    id: int


_Track: TypeAlias = list[_Seen]  # one face, in the order of the frames


class GapFiller:
    """Takes frames with their faces, and gives them back with the gaps filled.

    A face is linked to the nearest one in the next frames, from where its speed takes
    it; in the frames between them its box is interpolated. Nothing goes across a scene
    cut. Faces that meet while one is missed may be mixed up.

    A tracker's ids would not do: they start with a face's second frame (see
    :mod:`.tracking`), and the gap may be right after the first.

    It keeps ``gap + 1`` frames of a video. Images, and with a gap of 0 all frames, go
    right through.

    Args:
        gap: Longest gap that is filled, in frames.
        hold: Also keep a face for ``gap`` frames before its first detection and after
            its last one, in a growing box from where it was to where its speed takes
            it. Defaults to False.
    """

    def __init__(self, gap: int, hold: bool = False) -> None:
        self.gap = gap
        self.hold = hold
        self._source: Source | None = None
        self._small: np.ndarray | None = None
        self._waiting: deque[tuple[Frame, FaceDetections]] = deque()
        self._tracks: list[_Track] = []

    def push(
        self, frame: Frame, faces: FaceDetections
    ) -> Iterator[tuple[Frame, FaceDetections]]:
        """Take a frame; give those that are ready."""
        if frame.index is None or not self.gap:
            yield from self.flush()
            yield frame, faces
            return
        if self._is_cut(frame.image) or frame.source is not self._source:
            yield from self.flush()
        self._source = frame.source
        self._link(frame.index, faces)
        self._waiting.append((frame, faces))
        del frame  # no name keeps it
        # One more than the gap: a face that is held before its first frame gets its
        # speed from the second.
        while len(self._waiting) > self.gap + 1:
            yield self._fill(*self._waiting.popleft())

    def flush(self) -> Iterator[tuple[Frame, FaceDetections]]:
        """Give the frames that are left, and forget the faces."""
        while self._waiting:
            yield self._fill(*self._waiting.popleft())
        self._tracks = []

    def _is_cut(self, image: np.ndarray) -> bool:
        before = self._small
        small = cv2.resize(image, (32, 32), interpolation=cv2.INTER_AREA)
        self._small = small.astype(np.float32)
        return before is not None and np.abs(self._small - before).mean() > CUT

    def _link(self, index: int, faces: FaceDetections) -> None:
        """Add the faces of a frame to tracks, the nearest pairs first."""
        ids = np.full(len(faces), -1) if faces.ids is None else faces.ids
        rows = zip(faces.bboxes.astype(float), faces.scores, ids, strict=True)
        seen = [_Seen(index, box, float(score), int(i)) for box, score, i in rows]
        oldest = index - 2 * (self.gap + 1)  # what waits needs nothing older
        self._tracks = [track for track in self._tracks if track[-1].frame >= oldest]
        open_tracks = [t for t in self._tracks if index - t[-1].frame <= self.gap + 1]
        far = _distances(open_tracks, seen)
        new = set(range(len(seen)))
        while np.isfinite(far.min(initial=np.inf)):
            row, column = np.unravel_index(far.argmin(), far.shape)
            far[row], far[:, column] = np.inf, np.inf
            new.remove(int(column))
            track = open_tracks[row]
            track.append(seen[column])
            while len(track) > 4 and track[1].frame < oldest:
                del track[0]
        self._tracks += [[seen[i]] for i in sorted(new)]

    def _fill(
        self, frame: Frame, faces: FaceDetections
    ) -> tuple[Frame, FaceDetections]:
        """Add the faces that were not found in a frame."""
        index, added = frame.index, []
        for track in self._tracks:
            i = bisect_left(track, index, key=attrgetter('frame'))
            if i < len(track) and track[i].frame == index:
                continue
            held = max(track[0].frame - index, index - track[-1].frame, 0)
            if held > (self.gap if self.hold else 0):
                continue
            box, ends = _place(track, index), track[max(i - 1, 0) : i + 1]
            if held:  # it may have stopped
                end = ends[-1 if i else 0].box
                box = np.append(np.minimum(box, end)[:2], np.maximum(box, end)[2:])
                growth = GROWTH * held * (end[2:] - end[:2]).max()
                box += growth * np.array([-1, -1, 1, 1])
            score, number = min(s.score for s in ends), max(s.id for s in ends)
            added.append(_Seen(index, box, score, number))
        if not added:
            return frame, faces
        scores = np.append(faces.scores, np.float32([seen.score for seen in added]))
        order = np.argsort(-scores, kind='stable')
        bboxes = np.vstack((faces.bboxes, np.float32([seen.box for seen in added])))
        ids = faces.ids
        if ids is not None:
            ids = np.append(ids, [seen.id for seen in added])[order]
        return frame, replace(
            faces, bboxes=bboxes[order], scores=scores[order], ids=ids
        )


def _place(track: _Track, index: int) -> np.ndarray:
    """Return a face's box in a frame: between two, or moved on from the nearest end."""
    i = bisect_left(track, index, key=attrgetter('frame'))
    if 0 < i < len(track):
        before, after = track[i - 1], track[i]
        weight = (index - before.frame) / (after.frame - before.frame)
        return (1 - weight) * before.box + weight * after.box
    # The speed of the centre over four detections, as boxes jitter.
    ends = track[:4] if i == 0 else track[:-5:-1]
    near, other = ends[0], ends[-1]
    if near is other:
        return near.box
    moved = (_centres(near.box) - _centres(other.box)) / (near.frame - other.frame)
    return near.box + np.tile(moved, 2) * (index - near.frame)


def _distances(tracks: list[_Track], seen: list[_Seen]) -> np.ndarray:
    """Return (tracks, seen): distances in sides of the face; inf for what cannot be."""
    if not tracks or not seen:
        return np.full((len(tracks), len(seen)), np.inf)
    index = seen[0].frame
    expected = np.array([_place(track, index) for track in tracks])[:, None]
    boxes = np.array([each.box for each in seen])
    old, new = _sides(expected), _sides(boxes)
    far = np.linalg.norm(_centres(expected) - _centres(boxes), axis=-1)
    far /= np.maximum((old + new) / 2, 1)
    steps = np.array([[index - track[-1].frame] for track in tracks])
    cannot = far > np.minimum(REACH * steps, MOST_REACH)
    cannot |= np.maximum(old, new) > RATIO * np.minimum(old, new)
    known, ids = np.array([[t[-1].id] for t in tracks]), np.array([s.id for s in seen])
    cannot |= (known >= 0) & (ids >= 0) & (known != ids)
    return np.where(cannot, np.inf, far)


def _centres(boxes: np.ndarray) -> np.ndarray:
    return (boxes[..., :2] + boxes[..., 2:]) / 2


def _sides(boxes: np.ndarray) -> np.ndarray:
    return np.sqrt(np.prod(boxes[..., 2:] - boxes[..., :2], axis=-1))
