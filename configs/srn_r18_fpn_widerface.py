# SRN with ResNet-18 on WIDER FACE.
_base_ = 'srn_r50_fpn_widerface.py'

model = dict(
    backbone=dict(
        depth=18,
        # What torchvision://resnet18 stands for (IMAGENET1K_V1).
        init_cfg=dict(
            checkpoint='https://download.pytorch.org/models/resnet18-f37072fd.pth'
        ),
    ),
    # C6 half as wide as C5, as with ResNet-50
    neck=dict(in_channels=[64, 128, 256, 512], extra_channels=(256, 256)),
)
