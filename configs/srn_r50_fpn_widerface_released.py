# The released network and its inference, for the released weights:
#   python tools/model_converters/convert_srn_official.py SRC srn_released.pth
#   mim test mmdet_srn configs/srn_r50_fpn_widerface_released.py \
#     --checkpoint srn_released.pth
# The base holds what the weights need: RGB normalised as ImageNet, no padding,
# rounded anchors, boxes not clipped, the released pyramids. Its predictor per step
# stays: the converter copies the released one into both.
_base_ = 'srn_r50_fpn_widerface.py'

model = dict(
    test_cfg=dict(
        _delete_=True,
        score_thr=0.05,  # of the second step; the paper names none
        small_map_cells=120,  # a level of fewer cells (H * W)
        small_map_score_thr=0.0,  # sends all its boxes to NMS
        nms_pre=6000,  # on each level; paper: 2000 of all levels
        nms=dict(
            type='nms',
            iou_threshold=0.4,  # paper: 0.5
            offset=1,  # areas of (x2 - x1 + 1) * (y2 - y1 + 1)
        ),
        max_per_img=750,  # as in the paper
    ),
)
