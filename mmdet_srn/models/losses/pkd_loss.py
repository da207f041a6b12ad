"""Distillation of feature maps by correlation."""

import torch
from mmdet.registry import MODELS
from torch import Tensor, nn

from .two_stage_focal_loss import full_precision


@MODELS.register_module()
class PKDLoss(nn.Module):
    """Half the squared difference of feature maps normalised channel by channel.

    Cao et al., "PKD: General Distillation Framework for Object Detectors via Pearson
    Correlation Coefficient", NeurIPS 2022 (https://arxiv.org/abs/2207.02039). Over the
    cells of a batch, each process's own, each channel gets the mean 0 and the standard
    deviation 1, so the loss is 1 minus the correlation of student and teacher, averaged
    over the channels: it asks for the teacher's pattern, not for its magnitude.

    Args:
        loss_weight: Weight of the loss.
        eps: Added to the standard deviation, for channels that do not vary.
    """

    def __init__(self, loss_weight: float = 1.0, eps: float = 1e-6) -> None:
        super().__init__()
        self.loss_weight = loss_weight
        self.eps = eps

    def forward(
        self, student: Tensor, teacher: Tensor, weights: Tensor | None = None
    ) -> Tensor:
        """Compare two maps.

        Args:
            student: (N, C, H, W).
            teacher: The same shape.
            weights: Weights of the cells, (N, 1, H, W). None: all the same.

        Returns:
            The mean over channels and, by their weights, cells; a scalar.

        Raises:
            ValueError: If the shapes differ.
        """
        if student.shape != teacher.shape:
            raise ValueError(
                f'PKDLoss compares maps of one shape, but the student has '
                f'{tuple(student.shape)} and the teacher {tuple(teacher.shape)}: give '
                'both necks the same out_channels and strides'
            )
        error = (self._normalise(student) - self._normalise(teacher)).square().mean(1)
        if weights is None:
            return self.loss_weight * error.mean() / 2
        weights = full_precision(weights).squeeze(1)  # (N, H, W)
        total = weights.sum().clamp(min=torch.finfo(weights.dtype).tiny)
        return self.loss_weight * (error * weights).sum() / total / 2

    def _normalise(self, values: Tensor) -> Tensor:
        std, mean = torch.std_mean(
            full_precision(values), dim=(0, 2, 3), correction=0, keepdim=True
        )
        return (values - mean) / (std + self.eps)
