# SRN's multi-scale test, protocol ms-1400; --tta switches it on:
#   mim test mmdet_srn configs/srn_r50_fpn_widerface_ms1400.py \
#     --checkpoint srn_released.pth --tta
# Without --tta it is the single-scale test of the config below.
_base_ = 'srn_r50_fpn_widerface_released.py'

tta_model = dict(type='SRNMultiScaleTest', max_size=1400)
tta_pipeline = _base_.test_pipeline  # the scales are made in the model

# Clipped boxes in whole pixels, scores to three decimals.
test_evaluator = dict(box_format='released')
