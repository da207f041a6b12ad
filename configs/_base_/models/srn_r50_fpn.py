# SRN. Where the released network differs in structure from the paper, it is the
# released one; recipe and inference are the paper's. Each such place names both.
model = dict(
    type='SingleStageDetector',
    data_preprocessor=dict(
        type='ChannelsLastPreprocessor',  # mmdet's; on a CPU, tests are faster
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        bgr_to_rgb=True,  # released: RGB, ImageNet's mean and std
        pad_size_divisor=1,  # released: odd sizes give odd maps
    ),
    backbone=dict(
        type='ResNet',
        depth=50,
        num_stages=4,
        out_indices=(0, 1, 2, 3),
        frozen_stages=0,  # released: conv1 and bn1 only
        norm_cfg=dict(type='BN', requires_grad=True),
        norm_eval=False,  # released: the other stages' BN trains
        style='pytorch',  # released: stride on the 3x3
        # What torchvision://resnet50 stands for; the stack needs no torchvision.
        init_cfg=dict(
            type='PretrainedBackbone',
            checkpoint='https://download.pytorch.org/models/resnet50-0676ba61.pth',
        ),
    ),
    neck=dict(
        type='SRNFPN',
        in_channels=[256, 512, 1024, 2048],
        out_channels=256,
        extra_channels=(1024, 256),  # released: C6, C7 before their 1x1
        add_extra_convs='on_lateral',  # released; paper: 'on_output', of P5
        upsample_cfg=dict(
            mode='bilinear', align_corners=True
        ),  # paper: nearest, as FPN
        # P2 to P4: at test, computed where the first step leaves something
        deferred_levels=(0, 1, 2),
    ),
    # New layers start from Xavier (paper), the predictors from N(0, 0.01) (released,
    # there for all new layers): the modules' defaults.
    bbox_head=dict(
        type='SRNHead',
        num_classes=1,
        in_channels=256,
        feat_channels=256,
        stc_levels=(0, 1, 2),  # P2, P3, P4
        str_levels=(3, 4, 5),  # P5, P6, P7
        theta=0.99,
        share_cls_predictor=False,  # each step its own; released: one for both
        rfe_cfg=dict(type='RFE'),
        anchor_generator=dict(
            type='SRNAnchorGenerator',  # released: rounded; paper: not
            strides=[4, 8, 16, 32, 64, 128],
            scales=[2, 2 * 2**0.5],
            ratios=[1.25],
        ),
        # released: not clipped before NMS
        bbox_coder=dict(type='DeltaXYWHBBoxCoder', clip_border=False),
        loss_cls=dict(
            type='TwoStageFocalLoss',
            gamma=2.0,
            alpha=0.25,
            filter_positives=False,  # the paper's formula reads True
        ),
        # The paper prints neither a beta nor what the sums are divided by: RetinaNet's
        # beta and, as in it, the positives.
        loss_bbox=dict(type='SmoothL1Loss', beta=1 / 9),
    ),
    train_cfg=dict(
        # MaxIoUAssigner's result, in little time and memory
        first_assigner=dict(
            type='GridMaxIoUAssigner',
            pos_iou_thr=0.7,
            neg_iou_thr=0.3,
            match_low_quality=False,  # the paper does not mention it
            ignore_iof_thr=0.5,  # anchors on ignored faces are no negatives
        ),
        assigner=dict(
            type='GridMaxIoUAssigner',
            pos_iou_thr=0.5,
            neg_iou_thr=0.4,
            match_low_quality=False,
            ignore_iof_thr=0.5,
        ),
        allowed_border=-1,
        pos_weight=-1,
    ),
    # The paper's (it names no score threshold); the released code's are in
    # srn_r50_fpn_widerface_released.py
    test_cfg=dict(
        score_thr=0.0,
        max_before_nms=2000,
        nms=dict(type='nms', iou_threshold=0.5),
        max_per_img=750,
    ),
)
