"""What several models use."""

from .pretrained_backbone import PretrainedBackbone

__all__ = ['PretrainedBackbone']
