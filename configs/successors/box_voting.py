# Box voting on one scale, with --tta: a box becomes the mean, weighted with the scores,
# of all that overlap it by an IoU of .5 or more. No NMS comes before, and a box without
# others stays. Only the test changes: no training is needed.
_base_ = 'base_faces.py'

model = dict(test_cfg=dict(nms=None, max_per_img=2000))
tta_model = dict(type='SRNMultiScaleTest', max_size=None, keep_singles=True)
tta_pipeline = _base_.test_pipeline
