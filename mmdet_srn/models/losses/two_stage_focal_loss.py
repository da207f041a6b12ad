"""Focal loss of a classification in two steps."""

import torch
from mmdet.registry import MODELS
from torch import Tensor, nn


def full_precision(values: Tensor) -> Tensor:
    """End mixed precision; float64, for checking, stays."""
    return values if values.dtype == torch.float64 else values.float()


def survives(logits: Tensor, theta: float) -> Tensor:
    """Find the anchors (...) that the first step leaves to the second.

    It drops those that are background with a confidence above ``theta``; of several
    classes the best one counts.

    Args:
        logits: First-step scores before the sigmoid, (..., C).
        theta: Negative confidence above which an anchor is dropped.
    """
    # In half precision 1 - p has steps of 5e-4 around theta = 0.99.
    return 1 - full_precision(logits.detach()).sigmoid().amax(dim=-1) <= theta


@MODELS.register_module()
class TwoStageFocalLoss(nn.Module):
    r"""Selective two-step classification loss (paper equation 1).

    .. math::
        L = \frac{1}{N_1} \sum_{i \in \Omega} FL(p_i, l_i)
          + \frac{1}{N_2} \sum_{i \in \Phi} FL(q_i, l'_i)

    with :math:`\Omega` the anchors that are classified twice and :math:`\Phi` what the
    first step leaves. Each step has its own targets and its own normaliser. Usable
    without ``SRNHead``, in any detector with two classification outputs.

    Args:
        theta: First-step negative confidence above which an anchor takes no part in the
            second step (paper, 'Selective Two-Step Classification').
        filter_positives: Whether the filter also drops second-step positives, as the
            formula reads. By default it does not: it exists to drop easy negatives,
            and a positive that the first step misses is what the second has to learn.
        gamma: Focusing exponent (paper).
        alpha: Weight of the positives (paper).
        loss_weight: Weight of both steps.
        use_sigmoid: Must be True; mmdet's anchor heads read it.

    Raises:
        ValueError: If ``theta`` is outside [0, 1].
    """

    def __init__(
        self,
        theta: float = 0.99,
        filter_positives: bool = False,
        gamma: float = 2.0,
        alpha: float = 0.25,
        loss_weight: float = 1.0,
        use_sigmoid: bool = True,
    ) -> None:
        super().__init__()
        if not 0 <= theta <= 1:
            raise ValueError(f'theta is a confidence in [0, 1], got {theta}')
        self.theta = theta
        self.filter_positives = filter_positives
        self.focal_loss = MODELS.build(
            dict(
                type='FocalLoss',
                use_sigmoid=use_sigmoid,
                gamma=gamma,
                alpha=alpha,
                loss_weight=loss_weight,
            )
        )

    def survivors(self, first: Tensor, second_labels: Tensor) -> Tensor:
        """Find the anchors (...) that take part in the second step (the set Phi).

        Args:
            first: First-step logits, (..., C).
            second_labels: Second-step labels, (...); C is background.
        """
        keep = survives(first, self.theta)
        if not self.filter_positives:
            keep = keep | (second_labels < first.size(-1))
        return keep

    def forward(
        self,
        first: Tensor,
        second: Tensor,
        first_labels: Tensor,
        second_labels: Tensor,
        first_weights: Tensor | None = None,
        second_weights: Tensor | None = None,
        keep: Tensor | None = None,
        first_avg_factor: float | Tensor | None = None,
        second_avg_factor: float | Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Compute the loss of each step.

        Args:
            first: Logits of the first step's anchors, (M, C).
            second: Logits of the second step's, (K, C).
            first_labels: Labels (M, ), from 0 to C; C is background.
            second_labels: Labels (K, ), the same way.
            first_weights: Weights (M, ); 0 ignores an anchor. None: all 1.
            second_weights: Weights (K, ), the same way.
            keep: Boolean (K, ), the anchors of Phi. None: ``survivors`` of the first
                step; then both steps must have the same anchors.
            first_avg_factor: Normaliser N_1. None: the first step's positives, at
                least 1.
            second_avg_factor: Normaliser N_2. None: the same inside Phi.

        Returns:
            Scalar losses of the two steps.

        Raises:
            ValueError: If ``keep`` is None and the steps differ in size.
        """
        if keep is None:
            if len(first) != len(second):
                raise ValueError(
                    f'{len(first)} anchors in the first step and {len(second)} in the '
                    "second: pass keep, the second step's anchors that remain"
                )
            keep = self.survivors(first, second_labels)
        rows = keep.nonzero().squeeze(1)
        second, second_labels = second[rows], second_labels[rows]
        if second_weights is not None:
            second_weights = second_weights[rows]
        return (
            self._step(first, first_labels, first_weights, first_avg_factor),
            self._step(second, second_labels, second_weights, second_avg_factor),
        )

    def _step(
        self,
        logits: Tensor,
        labels: Tensor,
        weights: Tensor | None,
        avg_factor: float | Tensor | None,
    ) -> Tensor:
        if not len(logits):  # mmcv's CUDA operator fails without rows
            return logits.sum() * 0
        if avg_factor is None:
            avg_factor = (labels < logits.size(-1)).sum().clamp(min=1)
        return self.focal_loss(logits, labels, weights, avg_factor=avg_factor)
