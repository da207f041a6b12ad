# The same run twice: a fixed seed, and deterministic algorithms on the GPU (slower).
_base_ = 'srn_r50_fpn_widerface.py'

randomness = dict(seed=0, deterministic=True)
