"""SRN's head with TinaFace's prediction of the IoU."""

from mmdet.registry import MODELS
from mmdet.structures.bbox import bbox_overlaps
from mmengine.config import ConfigDict
from torch import Tensor, nn

from ..sparse.side_by_side import SideBySide
from . import checks
from .selection import Selection
from .srn_head import SRNHead

DEFAULT_ALPHA = 0.4
"""Value of TinaFace's code (alpha of its ``IoUBBoxAnchorConverter``)."""


@MODELS.register_module()
class SRNIoUHead(SRNHead):
    """``SRNHead`` that also predicts how well its boxes fit (IoU branch of TinaFace).

    TinaFace: https://arxiv.org/abs/2011.13183. One 3x3 convolution on the last map of
    the box subnet predicts an IoU for each anchor, in the second step alone: its boxes
    are those that are found. The branch starts at 0, an IoU of .5. It learns from the
    positives what IoU their decoded box, detached, has with its face. At test it
    changes the scores (see ``combine_scores``), and so which boxes pass NMS.

    Everything else is as in ``SRNHead``, except that ``bbox_preds`` has five channels
    for each anchor: four deltas and the logit of the IoU. ``test_cfg`` may have an
    ``iou_alpha`` in (0, 1]: how much the class counts beside the IoU. ``score_thr``
    is for the scores with the IoU. Weights of an ``SRNHead`` can be trained on.

    Args:
        *args: Those of ``SRNHead``.
        loss_iou: Loss of the IoU's logit, averaged as the box loss is. Default: binary
            cross-entropy of weight 1 (TinaFace).
        **kwargs: Those of ``SRNHead``.

    Raises:
        ValueError: If ``iou_alpha`` is not in (0, 1], and as ``SRNHead`` does.
    """

    def __init__(
        self,
        *args,
        loss_iou: dict = dict(type='CrossEntropyLoss', use_sigmoid=True),  # noqa: B006
        **kwargs,
    ) -> None:
        super().__init__(*args, **kwargs)
        checks.check_iou_alpha(self.test_cfg)
        self.loss_iou = MODELS.build(loss_iou)

    def _default_init_cfg(self) -> dict:
        init_cfg = super()._default_init_cfg()
        init_cfg['override'].append(dict(type='Constant', val=0, name='conv_iou'))
        return init_cfg

    def _init_layers(self) -> None:
        super()._init_layers()
        channels = self.conv_reg.in_channels
        self.conv_iou = nn.Conv2d(channels, self.num_base_priors, 3, padding=1)

    @property
    def second_reg_predictor(self) -> nn.Module:
        """The second step's predictor of deltas and IoU."""
        return SideBySide(self.num_base_priors, self.conv_reg, self.conv_iou)

    @property
    def box_outputs(self) -> int:
        """Deltas and the IoU's logit."""
        return super().box_outputs + 1

    def second_box_losses(
        self,
        positive: Tensor,
        priors: Tensor,
        outputs: Tensor,
        targets: Tensor,
        avg_factor: Tensor,
    ) -> dict[str, Tensor]:
        """Compute the second step's losses of boxes and of their IoU, ``loss_iou``."""
        deltas, logits = outputs[..., :-1], outputs[..., -1]
        rows = positive.nonzero(as_tuple=True)
        boxes = self.bbox_coder.decode(priors[rows], deltas[rows].detach())
        faces = targets[rows]
        if not self.reg_decoded_bbox:
            faces = self.bbox_coder.decode(priors[rows], faces)
        ious = bbox_overlaps(boxes, faces, is_aligned=True)
        return dict(
            super().second_box_losses(positive, priors, deltas, targets, avg_factor),
            loss_iou=self.loss_iou(logits[rows], ious, avg_factor=avg_factor),
        )

    def selection(self, test_cfg: ConfigDict) -> Selection:
        """Read which anchors become candidates, and how the IoU counts."""
        alpha = float(test_cfg.get('iou_alpha', DEFAULT_ALPHA))
        return super().selection(test_cfg)._replace(iou_alpha=alpha)
