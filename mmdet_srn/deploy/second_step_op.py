"""The second step of one level as one operator, which ONNX gets as its nodes.

Traced layer by layer, with sizes that depend on the image, torch's exporter had not
ended after 75 s with the small model of the tests; so it takes 22 s.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ..models.dense_heads import SRNHead
from ..models.losses.two_stage_focal_loss import survives
from ..models.sparse.deferred_map import DeferredMap
from .second_step_nodes import Layers, convolutions, known_layers, write_second_step


class SecondSteps:
    """What the second step is made of, where it can be computed at some cells.

    Args:
        head: Of one class, whose subnets and predictors it has;
            ``test_cfg.second_step`` says how to compute it.

    Attributes:
        way: 'auto', 'sparse' or 'dense', see ``SRNHead``; 'dense' also where a layer
            is not known.
        readers: Layers of each subnet with its predictor.
        makers: Of each level that was exported, what makes the map that is read.
    """

    def __init__(self, head: SRNHead) -> None:
        self.theta = head.theta
        self.readers = [
            known_layers(nn.Sequential(head.cls_subnet, head.conv_cls)),
            known_layers(nn.Sequential(head.reg_subnet, head.second_reg_predictor)),
        ]
        self.makers: dict[int, Layers] = {}
        self.way = head.test_cfg.get('second_step', 'auto')
        if None in self.readers:
            self.way = 'dense'

    def __call__(
        self, first_scores: Tensor, feature_map: Tensor | DeferredMap, level: int
    ) -> tuple[Tensor, Tensor]:
        """Compute scores and boxes of a level, for an export; see ``SRNHead.forward``.

        They are right where the first step leaves an anchor, and anything elsewhere.
        """
        left = survives(first_scores.unsqueeze(-1), self.theta)  # (N, A, H, W)
        cells = left.any(dim=1, keepdim=True).float()
        source, maker = feature_map, []
        if isinstance(feature_map, DeferredMap):
            maker = known_layers(nn.Sequential(*feature_map.layers))
            source = feature_map.source
            if maker is None:
                source, maker = feature_map.dense(), []
        self.makers[level] = maker
        convs = [c for part in (maker, *self.readers) for c in convolutions(part)]
        weights = [each for conv in convs for each in (conv.weight, conv.bias)]
        channels = [part[-1].out_channels for part in self.readers]
        maps = second_step(source, cells, weights, level, sum(channels))
        return maps.split(channels, dim=1)


@torch.library.custom_op('mmdet_srn::second_step', mutates_args=())
def second_step(
    source: Tensor, cells: Tensor, weights: Sequence[Tensor], level: int, channels: int
) -> Tensor:
    """Compute scores and boxes (N, channels, H, W), right at least at some cells.

    Args:
        source: What the layers are applied to, (N, C, H, W).
        cells: Where the output is read, floats 0 or 1, (N, 1, H, W).
        weights: Weight and bias of each convolution, in their order.
        level: The level, which names the layers for ``second_step_translation``.
        channels: Of the output: the scores', then the boxes'.
    """
    raise NotImplementedError('for export alone')


@second_step.register_fake
def _(
    source: Tensor, cells: Tensor, weights: Sequence[Tensor], level: int, channels: int
) -> Tensor:
    number, _, height, width = source.shape
    return source.new_empty(number, channels, height, width)


def second_step_translation(opset: int, steps: SecondSteps) -> dict[Any, Callable]:
    """Make the ``custom_translation_table`` by which torch exports ``second_step``."""
    import onnxscript

    op = getattr(onnxscript, f'opset{opset}')

    def translate(source: Any, cells: Any, weights: Any, level: int, channels: int):  # noqa: ANN202
        layers = steps.makers[level], steps.readers
        return write_second_step(op, source, cells, weights, *layers, steps.way, level)

    return {torch.ops.mmdet_srn.second_step.default: translate}
