"""How many faces of a made video stay visible where detections are missing.

    python -m tests.leaks [--seeds 10]

Faces of 10 to 60 pixels move on curves through two scenes, at up to a fifth of their
side in a frame. A tenth of the detections is dropped, in runs of some frames, also at
the first and last frames of a face; the boxes that are left jitter. A face-frame leaks
if one pixel of the face, the ellipse in its box, can still be seen.
"""

import argparse
from collections.abc import Iterator
from pathlib import PurePath

import cv2
import numpy as np

from mmdet_srn.detector import FaceDetections
from mmdet_srn.detector.frames import Frame
from mmdet_srn.detector.gaps import GapFiller
from mmdet_srn.detector.hiding import Hiding
from mmdet_srn.detector.sources import Source

WIDTH, HEIGHT, SCENE, FACES = 320, 180, 80, 6
CLIP = Source('video', 'made.mkv', PurePath('made'))
Boxes = dict[int, np.ndarray]  # by the number of the face


def move(rng: np.random.Generator) -> list[Boxes]:
    """The boxes of the faces in each frame of two scenes."""
    frames: list[Boxes] = [{} for _ in range(2 * SCENE)]
    for face in range(2 * FACES):
        side = np.exp(rng.uniform(np.log(10), np.log(60)))
        start = rng.integers(0, SCENE // 3)
        times = np.arange(start, rng.integers(2 * SCENE // 3, SCENE + 1))
        angles = rng.uniform(0, 2 * np.pi) + np.cumsum(rng.normal(0, 0.03, len(times)))
        speed = rng.uniform(0, 0.2) * side
        sides = side * (1 + 0.2 * np.sin(times / 40))
        steps = speed * np.stack((np.cos(angles), np.sin(angles)), axis=1)
        centres = rng.uniform((0, 0), (WIDTH, HEIGHT)) + np.cumsum(steps, axis=0)
        for time, (x, y), half in zip(times, centres, sides / 2, strict=True):
            box = np.array([x - 0.8 * half, y - half, x + 0.8 * half, y + half])
            if (box[:2] < (WIDTH, HEIGHT)).all() and (box[2:] > 0).all():
                frames[time + SCENE * (face % 2)][face] = box
    return frames


def drop(frames: list[Boxes], run: int, rng: np.random.Generator) -> list[Boxes]:
    """Without a tenth of the boxes: runs of faces that are there long enough."""
    kept = [dict(boxes) for boxes in frames]
    faces = {face for boxes in frames for face in boxes}
    for face in sorted(faces):
        times = [i for i, boxes in enumerate(frames) if face in boxes]
        if len(times) < 2 * run + 4:
            continue
        wanted, free = 0.1 * len(times), np.ones(len(times) - run + 1, bool)
        while wanted > 0 and free.any():
            first = rng.choice(np.flatnonzero(free))
            free[max(first - run - 1, 0) : first + run + 2] = False
            wanted -= run
            for i in times[first : first + run]:
                del kept[i][face]
    return kept


def draw(index: int, boxes: Boxes) -> np.ndarray:
    """The picture: face ``i`` has the colour 200 + i."""
    image = np.full((HEIGHT, WIDTH, 3), 20 if index < SCENE else 120, np.uint8)
    for face, (x1, y1, x2, y2) in boxes.items():
        centre, axes = ((x1 + x2) / 2, (y1 + y2) / 2), (x2 - x1, y2 - y1)
        cv2.ellipse(image, (centre, axes, 0), [200 + face] * 3, cv2.FILLED)
    return image


def detections(boxes: Boxes, rng: np.random.Generator) -> FaceDetections:
    rows = np.array(list(boxes.values())).reshape(-1, 4)
    jitter = rng.normal(0, 0.02, rows.shape) * (rows[:, 2:] - rows[:, :2]).repeat(2, 1)
    rows = np.clip(rows + jitter, 0, [WIDTH, HEIGHT] * 2).astype(np.float32)
    return FaceDetections(rows, np.full(len(rows), 0.9, np.float32), WIDTH, HEIGHT)


def measure(run: int, gap: int, seed: int = 0) -> tuple[int, int, int]:
    """Numbers of face-frames that leak, were dropped, and are."""
    rng = np.random.default_rng(seed)
    truth = move(rng)
    kept = drop(truth, run, rng)
    filler, hiding = GapFiller(gap, hold=True), Hiding('box')

    def filled() -> Iterator[tuple[Frame, FaceDetections]]:
        for i, boxes in enumerate(kept):
            frame = Frame(CLIP, draw(i, truth[i]), i, 25.0)
            yield from filler.push(frame, detections(boxes, rng))
        yield from filler.flush()

    leaks = 0
    for frame, faces in filled():
        hidden = hiding(frame.image, faces.bboxes)[..., 0]
        leaks += np.count_nonzero(np.bincount(hidden.ravel(), minlength=256)[200:])
    total = sum(map(len, truth))
    return leaks, total - sum(map(len, kept)), total


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--seeds', type=int, default=10)
    args = parser.parse_args()
    print('run  gap  leaks  dropped  face-frames  leak rate')
    for run in (1, 3, 5, 10):
        for gap in (0, 3, 5, 10):
            results = [measure(run, gap, seed) for seed in range(args.seeds)]
            leaks, dropped, total = np.sum(results, axis=0)
            rate = f'{100 * leaks / total:.2f} %'
            print(f'{run:3}  {gap:3}  {leaks:5}  {dropped:7}  {total:11}  {rate:>9}')


if __name__ == '__main__':
    main()
