# srn_r50_fpn_widerface.py, on faces of your own that are annotated in COCO's JSON.
_base_ = [
    '_base_/models/srn_r50_fpn.py',
    '_base_/datasets/face_coco.py',
    '_base_/schedules/schedule_130e.py',
    '_base_/default_runtime.py',
]

default_hooks = dict(checkpoint=dict(max_keep_ckpts=3))  # 430 MB each
