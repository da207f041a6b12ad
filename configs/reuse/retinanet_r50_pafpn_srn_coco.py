# SRN's head on another pyramid: PAFPN adds a bottom-up path to the FPN.
_base_ = 'retinanet_r50_fpn_srn_coco.py'

model = dict(neck=dict(type='PAFPN'))
