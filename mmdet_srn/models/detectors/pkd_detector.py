"""A detector that learns a larger one's feature maps."""

from collections.abc import Sequence
from typing import Any

import torch
from mmdet.models.detectors import KnowledgeDistillationSingleStageDetector
from mmdet.registry import MODELS
from mmdet.structures import SampleList
from torch import Tensor

from ...checkpoint_file import load_weights
from ..sparse.deferred_map import to_dense


@MODELS.register_module()
class PKDDetector(KnowledgeDistillationSingleStageDetector):
    """A student whose neck learns to give a teacher's maps.

    Only training needs it: checkpoints hold the student alone, which the same config
    with ``SingleStageDetector`` and without the teacher loads. The teacher may have
    another backbone and normalise images in another way; its neck must give as many
    maps as the student's, of the same channels and sizes.

    Args:
        *args: See mmdet's ``KnowledgeDistillationSingleStageDetector``, like the rest;
            ``teacher_config`` is the teacher's config or its file.
        teacher_ckpt: The teacher's weights, all of them. None: as they begin.
        loss_pkd: Loss of a map; the mean over all different maps counts.
        weigh_cells: Whether cells count by the teacher's score: that of its first step
            where there is one, else of its second. For an ``SRNHead``. Ours.
        **kwargs: See above.

    Raises:
        ValueError: If the weights are not those of the teacher's config; or student and
            teacher differ in the order of colours, or in number, channels or sizes of
            their maps.
    """

    def __init__(
        self,
        *args: Any,
        teacher_ckpt: str | None = None,
        loss_pkd: dict = dict(type='PKDLoss'),  # noqa: B006
        weigh_cells: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        if teacher_ckpt is not None:  # mmdet would log what does not fit, and go on
            load_weights(self.teacher_model, teacher_ckpt, 'teacher_config')
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
