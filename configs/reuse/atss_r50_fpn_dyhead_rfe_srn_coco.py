# A stack of necks, FPN, DyHead and RFE, and SRN's head, with a loss of boxes. As ATSS
# has it on DyHead, no convolutions are left in the head.
_base_ = 'mmdet::dyhead/atss_r50_fpn_dyhead_1x_coco.py'

custom_imports = dict(imports=['mmdet_srn'], allow_failed_imports=False)
model = dict(
    neck=[*_base_.model.neck, dict(type='RFE', in_channels=256)],
    bbox_head=dict(
        _delete_=True,  # ATSS's head has a centerness
        type='SRNHead',
        num_classes=80,
        in_channels=256,
        stacked_convs=0,
        stc_levels=(0, 1),
        str_levels=(2, 3, 4),
        share_reg_predictor=False,  # both steps read one map
        rfe_cfg=None,
        anchor_generator=_base_.model.bbox_head.anchor_generator,
        bbox_coder=_base_.model.bbox_head.bbox_coder,
        reg_decoded_bbox=True,  # GIoU compares boxes, not deltas
        loss_bbox=_base_.model.bbox_head.loss_bbox,
    ),
    # Each step is matched by IoU; ATSS's own matching knows levels, no moved boxes.
    train_cfg=dict(
        assigner=dict(
            _delete_=True,
            type='GridMaxIoUAssigner',
            pos_iou_thr=0.5,
            neg_iou_thr=0.4,
            min_pos_iou=0,
        )
    ),
)
