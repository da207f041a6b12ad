# DIoU loss of both regressions, on decoded boxes, with TinaFace's weight of 2
# (https://arxiv.org/abs/2011.13183).
_base_ = 'base_faces.py'

model = dict(
    bbox_head=dict(
        reg_decoded_bbox=True,
        loss_bbox=dict(_delete_=True, type='DIoULoss', loss_weight=2.0),
    )
)
