# One GPU: the gradients of 8 batches of 4 images are added up to the paper's batch of
# 32, for which its learning rate holds. --auto-scale-lr scales it where batch_size is
# changed; where accumulative_counts is, change base_batch_size to 32 / counts.
# 4 crops of 1024x1024 keep 15 GB for the backward pass. With less memory:
# model.backbone.with_cp=True (12 GB), optim_wrapper.type=BFloat16OptimWrapper, or
# train_dataloader.batch_size=2 optim_wrapper.accumulative_counts=16.
# What differs from 8 GPUs with 4 images each:
# - Losses are divided by the positives of the last 10 batches or so; 8 GPUs divide by
#   the mean of theirs. A batch of 4 alone often has no first-step positive at all.
# - BN sees 4 images at once on both; its running statistics move 8 times per step
#   instead of once, so they average over the last 10 batches of 4, not 10 of 32.
# - Warm-up counts batches: 500 steps are 4,000.
# - A moving average of the weights (..._ema.py) needs custom_hooks.0.interval=8.
# - The last step of an epoch is filled up with images of its beginning.
_base_ = 'srn_r50_fpn_widerface.py'

train_dataloader = dict(
    sampler=dict(type='WholeStepSampler', step_size=32)  # resumes without loss
)
model = dict(train_cfg=dict(avg_factor_momentum=0.9))
optim_wrapper = dict(accumulative_counts=8)
param_scheduler = [dict(_base_.param_scheduler[0], end=4000), _base_.param_scheduler[1]]
auto_scale_lr = dict(base_batch_size=4)  # images of one iteration, of which 8 a step
