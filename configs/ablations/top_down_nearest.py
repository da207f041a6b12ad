# Top-down maps enlarged by repetition, as FPN does (paper); base: bilinear (released).
_base_ = '../srn_r50_fpn_widerface.py'

model = dict(neck=dict(upsample_cfg=dict(_delete_=True, mode='nearest')))
