# P6 is a convolution of P5 (paper); base: of C5's lateral (released).
_base_ = '../srn_r50_fpn_widerface.py'

model = dict(neck=dict(add_extra_convs='on_output'))
