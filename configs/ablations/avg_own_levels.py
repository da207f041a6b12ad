# The first step's losses divided by its positives on the STC or STR levels alone, over
# which the paper's sums run; base: by those on all levels, which did better.
_base_ = '../srn_r50_fpn_widerface.py'

model = dict(train_cfg=dict(first_avg_levels='own'))
