# PKD (https://arxiv.org/abs/2207.02039): the pyramids' maps imitate those of a larger
# SRN, trained before. Published: RetinaNet with ResNet-50 from one with ResNeXt-101 on
# COCO, 37.4 to 40.8 AP. Weight: 10 on each of four levels there, as in mmrazor.
# srn_r18_fpn_widerface.py loads the checkpoints.
_base_ = '../srn_r18_fpn_widerface.py'

model = dict(
    type='PKDDetector',
    teacher_config='{{fileDirname}}/../srn_r101_fpn_widerface.py',
    teacher_ckpt='work_dirs/srn_r101_fpn_widerface/epoch_130.pth',
    loss_pkd=dict(type='PKDLoss', loss_weight=40.0),
)
