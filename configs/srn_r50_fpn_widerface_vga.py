# Single scale at VGA, SCRFD's protocol: the image fitted into 640x640.
_base_ = 'srn_r50_fpn_widerface.py'

test_pipeline = _base_.test_pipeline
test_pipeline[1] = dict(type='Resize', scale=(640, 640), keep_ratio=True)

val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
val_evaluator = dict(protocol='vga')
test_evaluator = val_evaluator
