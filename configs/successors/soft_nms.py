# Soft-NMS (https://arxiv.org/abs/1704.04503): scores of overlapping boxes shrink; a
# box is not dropped. Published: 1.1 points of AP on COCO for Faster R-CNN. Only the
# test changes: no training is needed.
_base_ = 'base_faces.py'

model = dict(
    bbox_head=dict(type='QuerySRNHead'),  # as in the shipped weights
    test_cfg=dict(nms=dict(_delete_=True, type='soft_nms', iou_threshold=0.4)),
)
