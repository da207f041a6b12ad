# Exponential moving average of the weights: validated, and saved as the checkpoint's
# state_dict; the weights in training go beside it and are resumed. It counts batches:
# on one GPU, where 8 make a step, custom_hooks.0.interval=8.
_base_ = 'srn_r50_fpn_widerface.py'

custom_hooks = [
    dict(
        type='EMAHook',
        ema_type='ExpMomentumEMA',
        momentum=0.0002,  # as mmdet's RTMDet: 5,000 iterations, here 12 epochs
        update_buffers=True,
        priority=49,
    )
]
