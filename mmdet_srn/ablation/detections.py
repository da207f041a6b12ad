"""Tables 3 and 5, from the detections that a run has written."""

from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import numpy as np
from mmdet.registry import DATASETS
from mmengine.config import Config
from mmengine.registry import init_default_scope

from ..evaluation import FaceAP, ImageFaces, evaluate_face_ap, read_ground_truth
from ..evaluation.image_names import name_images
from ..evaluation.wider_face_analysis import RECALLS, analyze_wider_face
from ..evaluation.wider_face_results import read_results
from .plan import Run

#: The paper's Table 5.
IOUS = (0.5, 0.6, 0.7, 0.8)


class DetectionFigures(NamedTuple):
    """What Tables 3 and 5 show of one run.

    Attributes:
        subset: The faces to be found: 'hard', or 'all' where the ground truth is not
            the official one.
        false_positives: Recall -> number, None where the recall is not reached.
        ap_by_iou: Least IoU of a match -> AP.
    """

    subset: str
    false_positives: dict[float, int | None]
    ap_by_iou: dict[float, float]


def detection_figures(run: Run) -> DetectionFigures:
    """Compute them.

    With ``gt_dir`` in the config's ``test_evaluator`` from the official ground truth,
    by :func:`analyze_wider_face`; otherwise from the test data's own annotation, by
    :func:`evaluate_face_ap`.

    Args:
        run: A finished run.

    Returns:
        The figures.
    """
    folder = run.folder / 'detections'
    names = sorted(
        path.relative_to(folder).with_suffix('').as_posix()
        for path in folder.rglob('*.txt')
    )
    gt_dir = run.cfg.test_evaluator.get('gt_dir')
    if gt_dir is None:
        return _by_annotation(folder, names, run.cfg)
    ground_truth = read_ground_truth(gt_dir).restrict(names)
    detections, _ = read_results(folder, ground_truth.names)
    analysis = analyze_wider_face(detections, ground_truth)
    aps = analysis.ap_by_iou['hard']
    return DetectionFigures(
        'hard', analysis.false_positives['hard'], {iou: aps[iou] for iou in IOUS}
    )


def _by_annotation(folder: Path, names: Sequence[str], cfg: Config) -> DetectionFigures:
    detections, _ = read_results(folder, names)
    starts = dict(zip(names, detections.offsets[:-1].tolist(), strict=True))
    ends = dict(zip(names, detections.offsets[1:].tolist(), strict=True))
    init_default_scope(cfg.get('default_scope', 'mmdet'))
    dataset = DATASETS.build(
        dict(cfg.test_dataloader.dataset, pipeline=[], lazy_init=False)
    )
    images = []
    infos = [dataset.get_data_info(index) for index in range(len(dataset))]
    titles = name_images([info['img_path'] for info in infos])
    for info, title in zip(infos, titles, strict=True):
        name = str(PurePosixPath(title).with_suffix(''))
        if name not in starts:
            raise ValueError(
                f'{folder}: no detections of {name}, an image of the test data; the '
                'data has changed since the run'
            )
        rows = detections.rows[starts[name] : ends[name]]
        faces = info['instances']
        images.append(
            ImageFaces(
                np.c_[rows[:, :2], rows[:, :2] + rows[:, 2:4]],
                rows[:, 4],
                np.array([face['bbox'] for face in faces], float).reshape(-1, 4),
                np.array([face['ignore_flag'] for face in faces], bool),
            )
        )
    curves = {
        iou: evaluate_face_ap(images, iou, {'all': (-np.inf, np.inf)})['all']
        for iou in IOUS
    }
    return DetectionFigures(
        'all',
        {recall: false_positives(curves[IOUS[0]], recall) for recall in RECALLS},
        {iou: curve.ap for iou, curve in curves.items()},
    )


def false_positives(curve: FaceAP, recall: float) -> int | None:
    """False positives at the highest threshold that reaches a recall.

    Args:
        curve: Recall and precision.
        recall: The recall, in (0, 1].

    Returns:
        The number; None if the recall is not reached.
    """
    # The small number makes up for products such as 0.1 * 3 > 0.3.
    found = np.flatnonzero(
        curve.recall * curve.num_faces >= recall * curve.num_faces - 1e-9
    )
    if not len(found):
        return None
    point = found[0]
    hits = curve.recall[point] * curve.num_faces
    return round(float(hits / curve.precision[point] - hits))
