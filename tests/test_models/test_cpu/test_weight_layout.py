import torch
from mmcv.cnn import ConvWS2d
from mmdet.models.data_preprocessors import DetDataPreprocessor
from torch import nn

from mmdet_srn.models.cpu import ChannelsLastPreprocessor
from mmdet_srn.models.cpu.matrix_conv import MatrixConv2d
from mmdet_srn.models.cpu.weight_layout import images_are_channels_last, lay_out_weights


class Detector(nn.Module):
    def __init__(self, preprocessor: nn.Module) -> None:
        super().__init__()
        self.data_preprocessor = preprocessor
        self.backbone = nn.Sequential(
            nn.Conv2d(3, 4, 3), ConvWS2d(4, 4, 3), nn.Conv3d(4, 4, 3)
        )
        self.neck = MatrixConv2d(4, 4, 3)


def is_laid_out(conv: nn.Module) -> bool:
    return conv.weight.is_contiguous(memory_format=torch.channels_last)


def test_as_the_images():
    """Not those of a class of its own, which may read its weights as they lie."""
    detector = Detector(ChannelsLastPreprocessor())
    expected = {name: p.clone() for name, p in detector.named_parameters()}
    assert images_are_channels_last(detector)
    lay_out_weights(detector)
    assert is_laid_out(detector.backbone[0]) and is_laid_out(detector.neck)
    assert not is_laid_out(detector.backbone[1])
    for name, parameter in detector.named_parameters():
        assert torch.equal(parameter, expected[name])
    detector.backbone[1](torch.randn(1, 4, 5, 5))  # views its weight


def test_where_images_are_contiguous_nothing_is_changed():
    detector = Detector(DetDataPreprocessor())
    assert not images_are_channels_last(detector)
    lay_out_weights(detector)
    assert not is_laid_out(detector.backbone[0]) and not is_laid_out(detector.neck)
