# Mixed precision in float16 with a dynamic loss scale, GPUs only; what --amp does to
# any config. Where the GPU has bfloat16, that is the safer choice.
_base_ = 'srn_r50_fpn_widerface.py'

optim_wrapper = dict(type='AmpOptimWrapper', loss_scale='dynamic', dtype='float16')
