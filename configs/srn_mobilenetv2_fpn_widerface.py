# SRN with MobileNetV2 on WIDER FACE, 64 channels in the pyramids and the head: with
# 256 the head alone would compute 50 times as much as this backbone.
_base_ = 'srn_r50_fpn_widerface.py'

model = dict(
    backbone=dict(
        _delete_=True,
        type='MobileNetV2',
        out_indices=(1, 2, 4, 7),  # strides 4 to 32
        frozen_stages=0,  # the first convolution, as with ResNet-50
        norm_cfg=dict(type='BN', requires_grad=True),
        # What open-mmlab://mmdet/mobilenet_v2 stands for. The files of torchvision and
        # mmpretrain name the layers otherwise, and PretrainedBackbone refuses them.
        init_cfg=dict(
            type='PretrainedBackbone',
            checkpoint='https://download.openmmlab.com/mmdetection/v2.0/third_party/'
            'mobilenet_v2_batch256_imagenet-ff34753d.pth',
        ),
    ),
    neck=dict(
        in_channels=[24, 32, 96, 1280], out_channels=64, extra_channels=(256, 64)
    ),
    bbox_head=dict(in_channels=64, feat_channels=64),
)
