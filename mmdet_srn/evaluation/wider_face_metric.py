"""WIDERFaceMetric: the evaluation in mmengine's loops."""

import json
import logging
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, Literal

import numpy as np
from mmdet.registry import METRICS
from mmengine.evaluator import BaseMetric
from mmengine.logging import print_log
from terminaltables import AsciiTable

from .face_ap import HEIGHT_BANDS, ImageFaces, evaluate_face_ap, read_instances
from .image_names import check_unique, name_images
from .protocols import UNKNOWN_PROTOCOL, describe_protocol
from .wider_face_curves import truncate
from .wider_face_eval import evaluate_wider_face
from .wider_face_ground_truth import NUM_VAL_IMAGES, read_ground_truth
from .wider_face_results import ODD_VALUES, odd_values, write_results


@METRICS.register_module()
class WIDERFaceMetric(BaseMetric):
    """WIDER FACE's AP: easy, medium and hard, or all faces and height bands.

    With ``gt_dir`` it is the official evaluation, to the bit
    (:mod:`mmdet_srn.evaluation.wider_face_eval`), of the images that arrive: all 3,226
    of the validation split, or a part of it, which causes a warning. Metrics, each with
    the prefix ``widerface/``:

    ================== =====================================================
    easy, medium, hard AP, omitted if the images have no face of the subset
    ================== =====================================================

    Without it, any data set in WIDER FACE's text layout will do; see
    :func:`mmdet_srn.evaluation.face_ap.evaluate_face_ap`. Metrics:

    ================== =====================================================
    AP                 over all faces
    AP_lt16            faces less than 16 pixels high in the original image
    AP_16to32          16 <= height < 32
    AP_32to96          32 <= height < 96
    AP_ge96            96 <= height
    faces, faces_lt16  number of faces that each of them counts (and so on)
    ================== =====================================================

    The AP of a band without faces is omitted (a dash in the printed table). In both
    cases ``protocol`` is among the metrics, as text. For the best checkpoint set
    ``save_best='widerface/AP'`` (or 'widerface/hard'); with a hook other than
    AtomicCheckpointHook also ``rule='greater'``.

    Without ``gt_dir``, faces come from ``data_sample['instances']``, the raw annotation
    in pixels of the original image (add 'instances' to the ``meta_keys`` of
    ``PackDetInputs``), or else from ``gt_instances`` and ``ignored_instances``, which
    is right if the pipeline loads annotations after resizing, as mmdet's test pipelines
    do.

    Args:
        gt_dir: Folder with the official ``wider_{easy,medium,hard}_val.mat``.
        protocol: Name of the test protocol, printed and stored with every result; see
            :data:`mmdet_srn.evaluation.protocols.PROTOCOLS`. A data sample's own
            ``protocol``, as SRNMultiScaleTest sets it, takes precedence.
        outfile_prefix: Write result files in the official format to
            ``<outfile_prefix>/<event>/<name>.txt``, ready to zip, and the metrics to
            ``<outfile_prefix>.json``. Without ``gt_dir`` names keep all folders below
            the common one.
        format_only: Write the files and evaluate nothing, as the test split needs.
        box_format: 'exact': boxes and scores as they are, w = x2 - x1. 'released': as
            SRN's released code writes them: clipped to the image, w = x2 - x1 + 1,
            whole numbers, scores to three decimals. Applies to the official evaluation
            and the files.
        iou_thr: Least IoU of a match without ``gt_dir``.
        face_label: Label of the face class; others are ignored.
        **kwargs: Arguments of mmengine's ``BaseMetric``.
    """

    default_prefix = 'widerface'

    def __init__(
        self,
        gt_dir: str | None = None,
        protocol: str = UNKNOWN_PROTOCOL,
        outfile_prefix: str | None = None,
        format_only: bool = False,
        box_format: Literal['exact', 'released'] = 'exact',
        iou_thr: float = 0.5,
        face_label: int = 0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if box_format not in ('exact', 'released'):
            raise ValueError(
                f"box_format must be 'exact' or 'released', not {box_format!r}"
            )
        if format_only and outfile_prefix is None:
            raise ValueError('format_only needs outfile_prefix')
        # Read now, not after an epoch, so that a missing file shows at once.
        evaluates = gt_dir is not None and not format_only
        self.ground_truth = read_ground_truth(gt_dir) if evaluates else None
        self._needs_names = evaluates or outfile_prefix is not None
        self.protocol = protocol
        self.outfile_prefix = outfile_prefix
        self.format_only = format_only
        self.box_format = box_format
        self.iou_thr = iou_thr
        self.face_label = face_label

    @property
    def figures(self) -> list[str]:
        """Names, without the prefix, of the APs an evaluation may give."""
        if self.format_only:
            return []
        if self.ground_truth is not None:
            return ['easy', 'medium', 'hard']
        return ['AP' if band == 'all' else f'AP_{band}' for band in HEIGHT_BANDS]

    def process(self, data_batch: Any, data_samples: Sequence[dict]) -> None:
        """Keep what the evaluation needs of one batch.

        Data samples need ``img_path``, ``pred_instances`` (``bboxes`` xyxy in pixels of
        the original image, ``scores``, ``labels``), the faces (see the class) and, for
        ``box_format='released'``, ``ori_shape``.
        """
        for sample in data_samples:
            predictions = sample['pred_instances']
            wanted = _to_numpy(predictions['labels']) == self.face_label
            result = dict(
                bboxes=_to_numpy(predictions['bboxes']).reshape(-1, 4)[wanted],
                scores=_to_numpy(predictions['scores'])[wanted],
                protocol=sample.get('protocol', self.protocol),
                img_path=sample.get('img_path'),
            )
            if self._needs_names:
                if 'img_path' not in sample:
                    raise KeyError('WIDERFaceMetric needs img_path in meta_keys')
                result['rows'] = self._rows(result, sample)
            if self.ground_truth is None and not self.format_only:
                result['faces'] = self._faces(sample)
            self.results.append(result)

    def check_images(self, infos: Iterable[Mapping[str, Any]]) -> None:
        """Raise errors of the evaluation early, from the ``get_data_info`` of images.

        A ValueError if an image comes twice or is not in the ground truth, or if there
        is no face to find.
        """
        paths, num_faces = [], 0
        for info in infos:
            paths.append(info.get('img_path', ''))
            # Without instances there may be faces.
            known = 'instances' in info
            num_faces += int(np.sum(~self._faces(info)[1])) if known else 1
        # Some data sets know the path only after loading the image.
        if all(paths) and self._needs_names:
            names = self._names(paths)[1]
            if self.ground_truth is not None:
                self.ground_truth.check_names(names)
        if self.ground_truth is None and not self.format_only:
            _check_faces(num_faces, len(paths))

    def compute_metrics(self, results: list[dict]) -> dict[str, float | str]:
        """Compute the metrics of the whole data set and write the files.

        One result per image, from all processes; only the protocol if ``format_only``.
        Raises the errors of :meth:`check_images`.
        """
        _warn_of_odd_values(results)
        names: list[str] = []
        if self._needs_names:
            titles, names = self._names([result['img_path'] for result in results])
        if self.outfile_prefix is not None:
            rows = (result['rows'] for result in results)
            files = zip(names, titles, rows, strict=True)
            count = write_results(self.outfile_prefix, files)
            _log(f'wrote {count} result files below {self.outfile_prefix}')
        metrics: dict[str, float | str]
        if self.format_only:
            metrics = dict(protocol=self._protocol(results))
        elif self.ground_truth is not None:
            metrics = self._official(results, names)
        else:
            metrics = self._by_height(results)
        if self.outfile_prefix is not None:
            text = json.dumps(dict(images=len(results), **metrics), indent=1)
            path = Path(f'{self.outfile_prefix}.json')
            path.write_text(f'{text}\n', encoding='utf-8')
        return metrics

    def _official(
        self, results: list[dict], names: list[str]
    ) -> dict[str, float | str]:
        assert self.ground_truth is not None
        ground_truth = self.ground_truth.restrict(names)
        protocol = self._protocol(results)
        if len(results) < NUM_VAL_IMAGES:
            note = f'only {len(results)} of {NUM_VAL_IMAGES} val images, NOT COMPARABLE'
            protocol = f'{protocol} ({note})'
            _log(f'WIDER FACE: {note} with any published figure', logging.WARNING)
        rows = {name: r['rows'] for name, r in zip(names, results, strict=True)}
        table = [['subset', 'faces', 'AP', 'truncated, as published']]
        metrics: dict[str, float | str] = {}
        for name, result in evaluate_wider_face(rows, ground_truth).items():
            row = ['-', '-']
            if result.num_faces:
                metrics[name] = result.ap
                row = [f'{result.ap:.4f}', truncate(result.ap)]
            table.append([name, str(result.num_faces), *row])
        self._print('official AP', results, table)
        return dict(metrics, protocol=protocol)

    def _by_height(self, results: list[dict]) -> dict[str, float | str]:
        images = [ImageFaces(r['bboxes'], r['scores'], *r['faces']) for r in results]
        _check_faces(sum(int(np.sum(~i.gt_ignored)) for i in images), len(images))
        table = [['height (pixels)', 'faces', 'AP']]
        metrics: dict[str, float | str] = {}
        for name, result in evaluate_face_ap(images, self.iou_thr).items():
            suffix = '' if name == 'all' else f'_{name}'
            if result.num_faces:
                metrics[f'AP{suffix}'] = result.ap
            # A float: mmengine stores integers of a test as null.
            metrics[f'faces{suffix}'] = float(result.num_faces)
            ap = f'{result.ap:.4f}' if result.num_faces else '-'
            table.append([name, str(result.num_faces), ap])
        self._print(f'AP at IoU {self.iou_thr:g} (not official)', results, table)
        return dict(metrics, protocol=self._protocol(results))

    def _print(self, what: str, results: list[dict], table: list[list[str]]) -> None:
        _log(
            f'WIDER FACE: {what}, {len(results)} images, protocol '
            f'{describe_protocol(self._protocol(results))}\n{AsciiTable(table).table}'
        )

    def _protocol(self, results: list[dict]) -> str:
        names = {result['protocol'] for result in results}
        name = ' and '.join(sorted(names)) or self.protocol
        return name + (', released boxes' if self.box_format == 'released' else '')

    def _names(self, paths: Sequence[str]) -> tuple[list[str], list[str]]:
        """Name images, with and without suffix."""
        titles = name_images(paths, official=self.ground_truth is not None)
        names = [str(PurePosixPath(title).with_suffix('')) for title in titles]
        check_unique(names)
        return titles, names

    def _rows(self, result: Mapping[str, np.ndarray], sample: Mapping) -> np.ndarray:
        """Format rows x, y, w, h, score (n, 5) in float64, as ``box_format`` says."""
        x1, y1, x2, y2 = result['bboxes'].astype(np.float64).T
        scores = result['scores'].astype(np.float64)
        if self.box_format == 'exact':
            return np.stack((x1, y1, x2 - x1, y2 - y1, scores), axis=1)
        if 'ori_shape' not in sample:
            raise KeyError("box_format='released' needs ori_shape in meta_keys")
        height, width = sample['ori_shape'][:2]
        x1, x2 = np.clip((x1, x2), 0, width - 1)
        y1, y2 = np.clip((y1, y2), 0, height - 1)
        boxes = np.round((x1, y1, x2 - x1 + 1, y2 - y1 + 1))
        # Python's round, which is right to the last digit
        return np.stack((*boxes, [round(s, 3) for s in scores.tolist()]), axis=1)

    def _faces(self, sample: Mapping[str, Any]) -> tuple[np.ndarray, np.ndarray]:
        """Return boxes xyxy (G, 4) in the original image, and which are ignored."""
        if 'instances' in sample:
            return read_instances(sample['instances'], self.face_label)
        if 'gt_instances' not in sample:
            raise KeyError(
                f'image {sample.get("img_path", "?")} came without ground truth: put '
                "'instances' among the meta_keys of PackDetInputs"
            )
        parts, flags = [], []
        for key, flag in (('gt_instances', False), ('ignored_instances', True)):
            if key not in sample:
                continue
            labels = _to_numpy(sample[key]['labels'])
            bboxes = _to_numpy(sample[key]['bboxes']).reshape(-1, 4)
            parts.append(bboxes[labels == self.face_label])
            flags.append(np.full(len(parts[-1]), flag))
        return np.concatenate(parts), np.concatenate(flags)


def _check_faces(num_faces: int, num_images: int) -> None:
    if not num_faces:
        raise ValueError(
            f'the annotation of the {num_images} images has no face to find: none, all '
            'ignored, or another class (see face_label). To write result files only, '
            'set format_only=True and outfile_prefix of WIDERFaceMetric'
        )


def _warn_of_odd_values(results: list[dict]) -> None:
    odd: dict[str, list[str]] = {}
    for result in results:
        boxes = result['bboxes']
        rows = np.c_[boxes[:, :2], boxes[:, 2:] - boxes[:, :2], result['scores']]
        for kind, reason in odd_values(rows):
            odd.setdefault(kind, []).append(f'{result["img_path"]}: {reason}')
    for kind, found in odd.items():
        text = f'{len(found)} of {len(results)} images have {ODD_VALUES[kind]}'
        _log(f'{text}; such as {found[0]}', logging.WARNING)


def _to_numpy(values: Any) -> np.ndarray:
    """Convert a tensor, box structure or array to an array on the CPU."""
    values = getattr(values, 'tensor', values)  # mmdet's BaseBoxes
    if hasattr(values, 'detach'):
        values = values.detach().cpu()
        values = (values.float() if values.is_floating_point() else values).numpy()
    return np.asarray(values)


def _log(message: str, level: int = logging.INFO) -> None:
    print_log(message, logger='current', level=level)
