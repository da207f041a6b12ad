# Mixed precision in bfloat16, on GPUs that have it (Ampere and later) and on CPUs.
# Matching, decoding and losses stay in float32; validation runs in float32.
_base_ = 'srn_r50_fpn_widerface.py'

optim_wrapper = dict(type='BFloat16OptimWrapper')
