# SRN with ResNet-152 on WIDER FACE.
_base_ = 'srn_r50_fpn_widerface.py'

model = dict(
    backbone=dict(
        depth=152,
        # What torchvision://resnet152 stands for (IMAGENET1K_V1).
        init_cfg=dict(
            checkpoint='https://download.pytorch.org/models/resnet152-394f9c45.pth'
        ),
    ),
)
