# Box voting (Gidaris and Komodakis, ICCV 2015): each box that NMS keeps becomes the
# mean, weighted with the scores, of all candidates that overlap it by an IoU of .6 or
# more. Only the test changes: no training is needed.
_base_ = 'base_faces.py'

# As in the shipped weights; without their queries: test_cfg.second_step='dense'.
model = dict(bbox_head=dict(type='QuerySRNHead'), test_cfg=dict(vote_iou_thr=0.6))
