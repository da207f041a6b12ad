"""A detector that learns a larger one's feature maps."""

from collections.abc import Sequence
from typing import Any

import torch
from mmdet.models.detectors import KnowledgeDistillationSingleStageDetector
from mmdet.registry import MODELS
from mmdet.structures import SampleList
from torch import Tensor

from ..sparse.deferred_map import to_dense


@MODELS.register_module()
class PKDDetector(KnowledgeDistillationSingleStageDetector):
    """A student beside a teacher, whose neck's maps it is to give.

    Only training needs it: checkpoints hold the student alone, as
    ``SingleStageDetector`` of the same config without teacher loads it. The teacher may
    have another backbone and another normalisation of images; its neck must give maps
    of the student's number, channels and sizes.

    Args:
        *args: See mmdet's ``KnowledgeDistillationSingleStageDetector``, like the rest:
            ``teacher_config`` and ``teacher_ckpt`` are the teacher's files.
        loss_pkd: Loss of a map; the mean over all different maps counts.
        weigh_cells: Whether cells count by the teacher's score: that of its first step
            where there is one, else of its second. For an ``SRNHead``. Ours.
        **kwargs: See above.

    Raises:
        ValueError: If student and teacher differ in the order of their colours, or in
            number, channels or sizes of their maps.
    """

    def __init__(
        self,
        *args: Any,
        loss_pkd: dict = dict(type='PKDLoss'),  # noqa: B006
        weigh_cells: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        self.loss_pkd = MODELS.build(loss_pkd)
        self.weigh_cells = weigh_cells
        own, teachers = self.data_preprocessor, self.teacher_model.data_preprocessor
        if own._channel_conversion != teachers._channel_conversion:
            raise ValueError("set data_preprocessor.bgr_to_rgb as the teacher's")

    def loss(self, batch_inputs: Tensor, batch_data_samples: SampleList) -> dict:
        """Compute the head's losses and ``loss_pkd``.

        Args:
            batch_inputs: Images (N, 3, H, W), normalised for the student.
            batch_data_samples: Their faces.
        """
        maps = self.extract_feat(batch_inputs)
        losses = self.bbox_head.loss(maps, batch_data_samples)
        with torch.no_grad():
            seen = self.teacher_model.extract_feat(self.renormalise(batch_inputs))
            seen = [to_dense(each) for each in seen]
            scores = [None] * len(seen)
            if self.weigh_cells:
                scores = self.cell_scores(seen)
                scores *= len(seen) // len(scores)  # one for the maps of both steps
        # a level that no first step reads is the same map twice
        triples = {
            id(own): (own, teachers, weights)
            for own, teachers, weights in zip(maps, seen, scores, strict=True)
        }
        distances = [self.loss_pkd(*triple) for triple in triples.values()]
        losses['loss_pkd'] = torch.stack(distances).mean()
        return losses

    def renormalise(self, images: Tensor) -> Tensor:
        """Normalise images (N, 3, H, W) for the teacher, not for the student."""
        own, teachers = self.data_preprocessor, self.teacher_model.data_preprocessor
        return (images * own.std + own.mean - teachers.mean) / teachers.std

    def cell_scores(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """Compute the teacher's best score in each cell of each level, (N, 1, H, W)."""
        head = self.teacher_model.bbox_head
        scores = []
        firsts, seconds = head.split_steps(maps)
        for level, (first, second) in enumerate(zip(firsts, seconds, strict=True)):
            if level in head.stc_levels:
                logits = head.first_cls_predictor(head.cls_subnet(first))
            else:
                logits = head.conv_cls(head.cls_subnet(second))
            scores.append(logits.sigmoid().amax(dim=1, keepdim=True))
        return scores
