# SRN with what its successors added, for 8 GPUs and WIDER FACE: parts for which others
# published a gain, see successors/README.md. Not trained by us: there is no figure of
# the whole. Detection and export are used as those of srn_r50_fpn_widerface.py.
_base_ = 'srn_r50_fpn_widerface.py'

model = dict(
    bbox_head=dict(
        type='SRNIoUHead',  # TinaFace's IoU branch
        # TinaFace's DIoU loss, on boxes instead of deltas
        reg_decoded_bbox=True,
        loss_bbox=dict(_delete_=True, type='DIoULoss', loss_weight=2.0),
    ),
    train_cfg=dict(
        # MogFace's mining, but not for faces that match no anchor, which it gives their
        # best one; its and TinaFace's threshold, SRN's are .5 and .4
        assigner=dict(type='AliAMSAssigner', pos_iou_thr=0.35, neg_iou_thr=0.35)
    ),
)

# Half of the crops are MogFace's, which give a random face a size, the others SCRFD's;
# to mix them is ours. A crop of 1024 goes with photographs tested as they are, 1024
# pixels wide, as SCRFD's 640 goes with its test at 640.
train_pipeline = _base_.train_pipeline
train_pipeline[1] = dict(
    type='LoadDataAnchorCrop',
    size=_base_.crop_size,
    prob=0.5,
    size_ranges=((0.64, 16, 106.2), (0.2, 106.2, 212.4), (0.16, 212.4, 420.8)),
    side_choices=(0.3, 0.45, 0.6, 0.8, 1.0, 1.2, 1.4, 1.6, 1.8, 2.0),
    max_tries=250,
    backend_args=_base_.backend_args,
)
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
