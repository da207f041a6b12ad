# A last box layer for each step; base: one for both, as in the released network,
# though the second step of P5 to P7 starts from other boxes than the first.
_base_ = '../srn_r50_fpn_widerface.py'

model = dict(bbox_head=dict(share_reg_predictor=False))
