# Each face's best anchor learns it in both steps, whatever its IoU; base: no (the paper
# does not mention it).
_base_ = '../srn_r50_fpn_widerface.py'

model = dict(
    train_cfg=dict(
        first_assigner=dict(match_low_quality=True),
        assigner=dict(match_low_quality=True),
    )
)
