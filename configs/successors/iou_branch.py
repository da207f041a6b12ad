# IoU branch of TinaFace (https://arxiv.org/abs/2011.13183, alpha of its code): scores
# are cls ** .8 * iou ** 1.2. TinaFace's figures are those of all its parts together.
# The base's threshold of .02 is .03 with an IoU of .74.
_base_ = 'base_faces.py'

model = dict(bbox_head=dict(type='SRNIoUHead'), test_cfg=dict(score_thr=0.03))
