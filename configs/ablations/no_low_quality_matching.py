# An anchor learns a face only where its IoU reaches the step's threshold: the base
# itself (the paper does not mention low quality matches), another one on the mosaic's.
_base_ = '../srn_r50_fpn_widerface.py'

model = dict(
    train_cfg=dict(
        first_assigner=dict(match_low_quality=False),
        assigner=dict(match_low_quality=False),
    )
)
