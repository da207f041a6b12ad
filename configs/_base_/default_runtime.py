# mmdet's runtime, plus the import that registers SRN's components and what lets a run
# survive; see README.md, 'When something goes wrong'.
_base_ = 'mmdet::_base_/default_runtime.py'

custom_imports = dict(imports=['mmdet_srn'], allow_failed_imports=False)

default_hooks = dict(
    checkpoint=dict(type='AtomicCheckpointHook'),  # whole checkpoints or none
    checkpoint_fit=dict(type='CheckpointFitHook'),  # the model's own, or an error
    sampler_seed=dict(type='EpochSeedHook'),  # a resumed run repeats exactly
    invalid_loss=dict(type='InvalidLossHook'),  # a NaN stops the run at once
    fold_norms=dict(type='FoldNormsHook'),  # faster tests, the same detections
    # Validation and the checkpoint have the same BN statistics in all processes.
    sync_buffers=dict(type='SyncBuffersHook'),
    num_classes=dict(type='NumClassCheckHook'),  # of the head and of the data
    metric_check=dict(type='MetricCheckHook'),  # at the start, what a test stops at
    visualization=dict(type='FolderVisualizationHook'),  # --show-dir keeps folders
)
