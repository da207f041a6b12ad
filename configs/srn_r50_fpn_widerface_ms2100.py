# SRN's multi-scale test, protocol ms-2100; see ms1400 for how to run it.
_base_ = 'srn_r50_fpn_widerface_ms1400.py'

tta_model = dict(max_size=2100)
