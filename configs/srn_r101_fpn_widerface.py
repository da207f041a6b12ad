# SRN with ResNet-101 on WIDER FACE.
_base_ = 'srn_r50_fpn_widerface.py'

model = dict(
    backbone=dict(
        depth=101,
        # What torchvision://resnet101 stands for (IMAGENET1K_V1).
        init_cfg=dict(
            checkpoint='https://download.pytorch.org/models/resnet101-63fe2227.pth'
        ),
    ),
)
