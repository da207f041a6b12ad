"""SRN from the image's bytes to boxes, in tensors alone: what is exported."""

import warnings
from collections.abc import Iterator, Sequence

import torch
import torch.nn.functional as F
from mmdet.models import DetDataPreprocessor, SingleStageDetector
from mmdet.models.task_modules import DeltaXYWHBBoxCoder
from torch import Tensor, nn

from ..models.cpu import ChannelsLastPreprocessor
from ..models.cpu.matrix_conv import is_exporting
from ..models.dense_heads import QuerySRNHead, SRNHead
from ..models.dense_heads.selection import combine_scores
from ..models.dense_heads.voting import vote_boxes
from ..models.losses.two_stage_focal_loss import survives
from .nms_op import NmsSettings, nms_keep
from .second_step_op import SecondSteps

FORMS = ('raw', 'boxes', 'detections')
"""Outputs of a graph: the head's maps, the candidates, or these after NMS."""

EXAMPLE = (2, 200, 168, 3)
"""Not a special size, from which the export would generalise: 1, the same on two axes,
or a multiple of ``pad_size_divisor``."""

DYNAMIC_AXES = {0: 'batch', 1: 'height', 2: 'width'}
"""Of the images, with their names in the file."""

NO_SCORE = -1.0
"""Score of padding and of what a threshold drops; any other is from 0 to 1."""


class SRNGraph(nn.Module):
    """A detector with ``SRNHead`` as one function of a batch of images.

    The input is uint8 (N, H, W, 3) in the channel order of OpenCV and mmdet, BGR.
    Channel order, mean, standard deviation and padding to ``pad_size_divisor`` are
    part of the graph. Candidates are those of ``SRNHead.predict_by_feat``, here of all
    images at once and with rows of padding instead of sizes that depend on the data.
    The first step is computed everywhere, and exported the second where ``SecondSteps``
    says; the branch of a ``QuerySRNHead`` is not asked, with a warning.

    The forms and their outputs, boxes being xyxy in pixels of the input:

    - ``raw``: the maps of ``SRNHead.forward``, one after the other.
    - ``boxes``: the candidates that go into NMS, best first: boxes (N, K, 4), scores
      (N, K) and counts (N, ), how many candidates each image has. The rows behind
      them are padding, boxes of 0 with a score of -1.
    - ``detections``: the same after NMS.

    Args:
        detector: With an ``SRNHead`` of one class.
        form: One of ``FORMS``.

    Raises:
        ValueError: If the graph cannot represent the detector or its ``test_cfg``.
    """

    dynamic_axes = DYNAMIC_AXES
    input_format = dict(dtype='uint8', layout='NHWC', channel_order='BGR')

    def __init__(self, detector: SingleStageDetector, form: str = 'detections') -> None:
        super().__init__()
        if form not in FORMS:
            raise ValueError(f'form is one of {", ".join(FORMS)}, not {form!r}')
        _check_detector(detector)
        if isinstance(detector.bbox_head, QuerySRNHead):
            warnings.warn(
                'the graph computes the first step everywhere, without the branch of '
                'QuerySRNHead: it also finds the faces that the branch would leave out',
                stacklevel=2,
            )
        self.detector = detector
        self.form = form
        self.selection = self.nms = None
        self.second_steps = None
        if form != 'raw':
            test_cfg = detector.bbox_head.test_cfg
            self.selection = detector.bbox_head.selection(test_cfg)
            self.nms = NmsSettings.from_test_cfg(test_cfg)
            self.second_steps = SecondSteps(detector.bbox_head)

    @property
    def example(self) -> Tensor:
        """An input, to export with."""
        return torch.zeros(EXAMPLE, dtype=torch.uint8)

    @property
    def output_names(self) -> list[str]:
        """Names of the outputs; maps end in their level, 0 the finest."""
        if self.form != 'raw':
            return ['boxes', 'scores', 'counts']
        head = self.detector.bbox_head
        levels = range(head.prior_generator.num_levels)
        parts = {
            'first_cls_score': head.stc_levels,
            'first_bbox_pred': head.str_levels,
            'cls_score': levels,
            'bbox_pred': levels,
        }
        return [f'{name}_{level}' for name, on in parts.items() for level in on]

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Compute the outputs of images, uint8 (N, H, W, 3)."""
        features = self.detector.extract_feat(self.preprocess(images))
        steps = self.second_steps
        in_part = steps is not None and steps.way != 'dense' and is_exporting()
        maps = self.detector.bbox_head(features, steps if in_part else None)
        if self.form == 'raw':
            return tuple(each for part in maps for each in part)
        scores, boxes = self._candidates(maps)
        if self.form == 'detections':
            scores, boxes = self._suppress(scores, boxes)
        found = scores >= 0
        boxes = boxes.where(found.unsqueeze(2), 0.0)
        return boxes, scores, found.sum(dim=1)

    def preprocess(self, images: Tensor) -> Tensor:
        """Prepare images of one size as the detector's ``data_preprocessor`` does.

        From uint8 (N, H, W, 3) to float32 (N, 3, H, W), padded right and at the bottom.
        """
        settings = self.detector.data_preprocessor
        inputs = images.permute(0, 3, 1, 2)
        if settings._channel_conversion:
            order = torch.tensor([2, 1, 0], device=inputs.device)
            inputs = inputs.index_select(1, order)
        inputs = inputs.float()
        if settings._enable_normalize:
            inputs = (inputs - settings.mean) / settings.std
        divisor = settings.pad_size_divisor
        if divisor > 1:
            height, width = inputs.shape[-2:]
            # in this form the exporter sees that the sum can be divided
            right = (width + divisor - 1) // divisor * divisor - width
            below = (height + divisor - 1) // divisor * divisor - height
            inputs = F.pad(inputs, (0, right, 0, below), value=settings.pad_value)
        return inputs

    def _candidates(self, maps: Sequence[list[Tensor]]) -> tuple[Tensor, Tensor]:
        """Scores (N, K), best first, and boxes (N, K, 4) of the candidates."""
        limit, levels = self.selection.max_per_level, self.levels(maps)
        if limit > 0:
            levels = (_best(limit, *rows) for rows in levels)
        rows = (torch.cat(parts, dim=1) for parts in zip(*levels, strict=True))
        scores, priors, deltas = _best(self.selection.max_before_nms, *rows)
        return scores, self.decode(priors, deltas)

    def levels(self, maps: Sequence[list[Tensor]]) -> Iterator[tuple[Tensor, ...]]:
        """Yield each level's scores (N, A), after ``drop``, anchors and deltas."""
        head = self.detector.bbox_head
        first_logits = dict(zip(head.stc_levels, maps[0], strict=True))
        first_deltas = dict(zip(head.str_levels, maps[1], strict=True))
        sizes = [logits.shape[-2:] for logits in maps[2]]
        anchors = head.prior_generator.grid_priors(sizes, device=maps[2][0].device)
        rows = zip(anchors, *maps[2:], strict=True)
        for level, (priors, logits, outputs) in enumerate(rows):
            scores = rows_of(logits, 1).sigmoid().squeeze(2)
            found = rows_of(outputs, head.box_outputs)
            if self.selection.iou_alpha is not None:
                scores = combine_scores(scores, found[..., 4], self.selection.iou_alpha)
            scores = self.drop(scores, logits, first_logits.get(level))
            deltas = found[..., :4]
            priors = priors.expand_as(deltas)
            if level in first_deltas:
                priors = head.refine(priors, rows_of(first_deltas[level], 4))
            yield scores, priors, deltas

    def drop(self, scores: Tensor, logits: Tensor, first: Tensor | None) -> Tensor:
        """Mark the scores that the threshold or the first step (its logits) drops."""
        # A tensor: a comparison of sizes would be made once, at export.
        cells = torch.ones_like(logits[0, 0]).sum()
        keep = scores > self.selection.threshold(cells)
        if first is not None:
            keep = keep & survives(rows_of(first, 1), self.detector.bbox_head.theta)
        return scores.where(keep, NO_SCORE)

    def decode(self, priors: Tensor, deltas: Tensor) -> Tensor:
        """Boxes (N, K, 4) of anchors and deltas, both (N, K, 4)."""
        # as rows: for (N, K, 4) the coder warns, and computes differently
        coder = self.detector.bbox_head.bbox_coder
        boxes = coder.decode(priors.reshape(-1, 4), deltas.reshape(-1, 4))
        return boxes.view_as(deltas)

    def _suppress(self, scores: Tensor, boxes: Tensor) -> tuple[Tensor, Tensor]:
        """Run NMS over the candidates; what it leaves, best first, after voting."""
        nms = self.nms
        # Sides of x2 - x1 + offset are those of boxes that end so much farther.
        longer = boxes + boxes.new_tensor([0, 0, nms.offset, nms.offset])
        keep = nms_keep(longer, scores, nms.iou_threshold, nms.max_per_img)
        best, kept = _best(nms.max_per_img, scores.where(keep, NO_SCORE), boxes)
        if nms.vote_iou_thr is not None:
            weights = scores.clamp(min=0)  # of padding none
            kept = vote_boxes(kept, boxes, weights, nms.vote_iou_thr)
        return best, kept


def _check_detector(detector: nn.Module) -> None:
    head = getattr(detector, 'bbox_head', None)
    if not isinstance(detector, SingleStageDetector) or not isinstance(head, SRNHead):
        raise ValueError(
            'only a SingleStageDetector with an SRNHead can be exported, not '
            f'{type(detector).__name__} with {type(head).__name__}'
        )
    if head.cls_out_channels != 1:
        raise ValueError(
            f'only a detector of one class can be exported, not of {head.num_classes}'
        )
    preprocessor = type(detector.data_preprocessor)
    if preprocessor not in (DetDataPreprocessor, ChannelsLastPreprocessor):
        raise ValueError(
            'only DetDataPreprocessor or ChannelsLastPreprocessor can be exported, not '
            f'{preprocessor.__name__}'
        )
    coder = head.bbox_coder
    if type(coder) is not DeltaXYWHBBoxCoder or coder.use_box_type:
        raise ValueError(
            'only DeltaXYWHBBoxCoder on plain tensors can be exported, not '
            f'{type(coder).__name__}(use_box_type={coder.use_box_type})'
        )


def rows_of(maps: Tensor, channels: int) -> Tensor:
    """Lay maps (N, A * channels, H, W) out as (N, anchors, channels)."""
    # shape[0], as len() would be a number at export
    return maps.permute(0, 2, 3, 1).reshape(maps.shape[0], -1, channels)


def _best(number: int, scores: Tensor, *rows: Tensor) -> tuple[Tensor, ...]:
    """Take the best ``number`` of scores (N, K), or all, and their rows (N, K, 4)."""
    available = scores.shape[1]
    if number > 0:
        # min() would decide at export
        available = torch.sym_min(number, available)
    scores, order = scores.topk(available, dim=1)
    order = order.unsqueeze(2).expand(-1, -1, 4)
    return scores, *(row.gather(1, order) for row in rows)
