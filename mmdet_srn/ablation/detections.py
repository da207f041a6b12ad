"""Tables 3 and 5, from the detections that a run has written."""

from pathlib import Path
from typing import Any

from mmdet.registry import DATASETS
from mmengine.config import Config
from mmengine.registry import init_default_scope

from ..evaluation import (
    FaceAP,
    ImageFaces,
    evaluate_face_ap,
    read_ground_truth,
    read_instances,
)
from ..evaluation.prediction_file import read_result_folder
from ..evaluation.wider_face_analysis import RECALLS, analyze_wider_face
from ..evaluation.wider_face_results import read_results

#: The paper's Table 5.
IOUS = (0.5, 0.6, 0.7, 0.8)


def detection_figures(folder: Path, cfg: Config) -> dict[str, dict[str, Any]]:
    """Compute the figures of Tables 3 and 5.

    They are of the hard faces of the official ground truth if ``test_evaluator`` has a
    ``gt_dir`` (:func:`analyze_wider_face`), otherwise of all faces of the test data's
    annotation (:func:`evaluate_face_ap`).

    Args:
        folder: Result files, in WIDER FACE's layout.
        cfg: Config with ``test_evaluator`` and ``test_dataloader``.

    Returns:
        ``false_positives``: recall -> number, None where it is not reached;
        ``ap_by_iou``: least IoU of a match -> AP. Keys are text, as in JSON.
    """
    if (gt_dir := cfg.test_evaluator.get('gt_dir')) is not None:
        files = (path.relative_to(folder) for path in folder.rglob('*.txt'))
        names = sorted(file.with_suffix('').as_posix() for file in files)
        ground_truth = read_ground_truth(gt_dir).restrict(names)
        detections, _ = read_results(folder, ground_truth.names)
        analysis = analyze_wider_face(detections, ground_truth)
        counts, aps = analysis.false_positives['hard'], analysis.ap_by_iou['hard']
    else:
        images = _read_images(folder, cfg)
        curves = {iou: evaluate_face_ap(images, iou)['all'] for iou in IOUS}
        counts = {recall: false_positives(curves[0.5], recall) for recall in RECALLS}
        aps = {iou: curve.ap for iou, curve in curves.items()}
    return dict(
        false_positives={str(recall): number for recall, number in counts.items()},
        ap_by_iou={str(iou): aps[iou] for iou in IOUS},
    )


def _read_images(folder: Path, cfg: Config) -> list[ImageFaces]:
    """Read the detections and the faces of the test data's images."""
    init_default_scope(cfg.get('default_scope', 'mmdet'))
    dataset = DATASETS.build(cfg.test_dataloader.dataset)
    infos = [dataset.get_data_info(index) for index in range(len(dataset))]
    results, report = read_result_folder(folder, [info['img_path'] for info in infos])
    if missing := report.odd['missing']:
        raise ValueError(
            f'{folder}: no detections of {missing[0]}, an image of the test data; the '
            'data has changed since the run'
        )
    evaluator = cfg.test_evaluator
    # the width and height of released boxes count the last pixel
    extra = int(evaluator.get('box_format') == 'released')
    return [
        ImageFaces(
            found['pred_instances']['bboxes'] - [0, 0, extra, extra],
            found['pred_instances']['scores'],
            *read_instances(info['instances'], evaluator.get('face_label', 0)),
        )
        for info, found in zip(infos, results, strict=True)
    ]


def false_positives(curve: FaceAP, recall: float) -> int | None:
    """Count false positives at the highest threshold that reaches a recall in (0, 1].

    None if it is not reached.
    """
    # The small number makes up for rounding. Without faces the recall is NaN.
    reached = curve.recall >= recall - 1e-9
    if not reached.any():
        return None
    return int(curve.false_positives[reached.argmax()])
