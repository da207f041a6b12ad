# Single scale, TinaFace's protocol: short side 1100, the long one at most 1650.
_base_ = 'srn_r50_fpn_widerface.py'

test_pipeline = _base_.test_pipeline
test_pipeline[1] = dict(type='Resize', scale=(1650, 1100), keep_ratio=True)

val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
val_evaluator = dict(protocol='1650x1100')
test_evaluator = val_evaluator
