# Regression divided by the number of coordinates, four times the positives, as some
# RetinaNets do; base: by the positives. The paper prints no normaliser.
_base_ = '../srn_r50_fpn_widerface.py'

model = dict(
    bbox_head=dict(
        loss_bbox=dict(
            loss_weight=_base_.model.bbox_head.loss_bbox.get('loss_weight', 1.0) / 4
        )
    )
)
