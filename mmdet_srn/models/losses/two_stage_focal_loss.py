"""Focal loss of a classification in two steps."""

import torch
from mmdet.registry import MODELS
from torch import Tensor, nn


def full_precision(values: Tensor) -> Tensor:
    """End mixed precision; float64, for checking, stays."""
    return values if values.dtype == torch.float64 else values.float()


def survives(logits: Tensor, theta: float) -> Tensor:
    """Which anchors the first step leaves to the second.

    Dropped is what the first step takes for background with a confidence above
    ``theta``; with several classes, the best class counts.

    Args:
        logits (Tensor): First-step scores before the sigmoid, shape (..., C).
        theta (float): Negative confidence above which an anchor is dropped.

    Returns:
        Tensor: Boolean, shape (...).
    """
    # In half precision 1 - p has steps of 5e-4 around theta = 0.99.
    return 1 - full_precision(logits.detach()).sigmoid().amax(dim=-1) <= theta


@MODELS.register_module()
class TwoStageFocalLoss(nn.Module):
    r"""Selective two-step classification loss (paper equation 1).

    .. math::
        L = \frac{1}{N_1} \sum_{i \in \Omega} FL(p_i, l_i)
          + \frac{1}{N_2} \sum_{i \in \Phi} FL(q_i, l'_i)

    with :math:`\Omega` the anchors that are classified twice and :math:`\Phi`
    what the first step leaves. Each step has its own targets and its own
    normaliser. Usable without ``SRNHead``, in any detector with two
    classification outputs.

    Args:
        theta (float): First-step negative confidence above which an anchor
            takes no part in the second step. Defaults to 0.99 (paper,
            'Selective Two-Step Classification').
        filter_positives (bool): Whether the filter also drops second-step
            positives, as the formula reads. Defaults to False: it exists to
            drop easy negatives, and a positive that the first step misses is
            what the second has to learn.
        gamma (float): Focusing exponent. Defaults to 2.0 (paper).
        alpha (float): Weight of the positives. Defaults to 0.25 (paper).
        loss_weight (float): Weight of both steps. Defaults to 1.0.
        use_sigmoid (bool): Only True is known; mmdet's anchor heads look for
            it. Defaults to True.

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
        """Anchors that take part in the second step (the set Phi).

        Args:
            first (Tensor): First-step logits, shape (..., C).
            second_labels (Tensor): Second-step labels, shape (...); C is
                background.

        Returns:
            Tensor: Boolean, shape (...).
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
            first (Tensor): Logits of the anchors in the first step, (M, C).
            second (Tensor): Logits of the second step, (K, C).
            first_labels (Tensor): Labels (M, ), from 0 to C; C is background.
            second_labels (Tensor): Labels (K, ), the same way.
            first_weights (Tensor, optional): Weights (M, ); 0 ignores an
                anchor. Defaults to None, all 1.
            second_weights (Tensor, optional): Weights (K, ), the same way.
            keep (Tensor, optional): Boolean (K, ), the anchors of Phi.
                Defaults to None: ``survivors`` of the first step, for which
                both steps must hold the same anchors.
            first_avg_factor (float | Tensor, optional): Normaliser N_1.
                Defaults to None, the first step's positives, at least 1.
            second_avg_factor (float | Tensor, optional): Normaliser N_2, the
                same way, positives counted inside Phi.

        Returns:
            tuple[Tensor, Tensor]: Scalar losses of the two steps.

        Raises:
            ValueError: If ``keep`` is None and the steps differ in size.
        """
        if keep is None:
            if len(first) != len(second):
                raise ValueError(
                    f'{len(first)} anchors in the first step and {len(second)} in '
                    'the second: pass keep, which anchors of the second remain'
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
