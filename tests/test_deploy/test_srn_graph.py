"""The graph in PyTorch against the package's own prediction."""

import copy

import numpy as np
import pytest
import torch
from mmdet.models import BatchFixedSizePad, RetinaHead
from mmdet.models.task_modules import TBLRBBoxCoder
from mmdet.registry import MODELS
from mmengine.config import Config, ConfigDict

from mmdet_srn.deploy.srn_graph import NO_SCORE, SRNGraph
from mmdet_srn.evaluation.parity import compare_detections
from mmdet_srn.model_loader import run_detector
from tests.test_deploy import small_srn

SIZES = [(96, 128), (101, 67), (40, 200)]
NMS = dict(type='nms', iou_threshold=0.5)
#: Each replaces the small detector's whole test_cfg.
TEST_CFGS = {
    'paper': dict(score_thr=0.0, max_before_nms=400, nms=NMS, max_per_img=75),
    'released': dict(
        score_thr=0.05,
        small_map_cells=120,
        small_map_score_thr=0.0,
        nms_pre=200,
        nms=dict(type='nms', iou_threshold=0.4, offset=1),
        max_per_img=75,
    ),
    'no limits': dict(nms=NMS, max_per_img=10_000, vote_iou_thr=0.6),
    'nothing': dict(score_thr=0.9999, nms=NMS, max_per_img=75),
    'all': dict(score_thr=-1, nms=dict(type='nms', iou_threshold=1), max_per_img=10),
}


@pytest.fixture(scope='module')
def config(tmp_path_factory):
    path = tmp_path_factory.mktemp('config') / 'small.py'
    path.write_text(small_srn.CONFIG.replace('NORM', 'None'))
    return path


@pytest.fixture(scope='module')
def whole(config):
    return small_srn.build(config)


@pytest.fixture
def detector(whole):
    """The small detector, whose parts a test may replace."""
    return copy.deepcopy(whole)


def set_test_cfg(detector, test_cfg):
    detector.bbox_head.test_cfg = ConfigDict(test_cfg)


def run_graph(detector, batch, form='detections'):
    with torch.no_grad():
        return SRNGraph(detector, form)(torch.from_numpy(np.stack(batch)))


def as_detections(outputs):
    boxes, scores, counts = (output.numpy() for output in outputs)
    return [(b[:n], s[:n]) for b, s, n in zip(boxes, scores, counts, strict=True)]


@pytest.mark.parametrize('name', TEST_CFGS)
@pytest.mark.parametrize('size', SIZES, ids=str)
def test_finds_what_the_head_finds(detector, name, size):
    set_test_cfg(detector, TEST_CFGS[name])
    batch = small_srn.images(2, *size)
    outputs = run_graph(detector, batch)
    expected = run_detector(detector, batch)
    parities = [
        compare_detections(*pair, 1e-3, 1e-5)
        for pair in zip(expected, as_detections(outputs), strict=True)
    ]
    assert all(parity.same for parity in parities), parities
    found = sum(parity.pairs for parity in parities)
    assert found == 0 if name == 'nothing' else found >= 20


@pytest.mark.parametrize(
    ('stc', 'str_levels'),
    [((), ()), ((), (0, 2)), ((0,), ()), ((0,), (1,)), ((0, 1, 2), (0, 2))],
    ids=str,
)
def test_placements(config, whole, stc, str_levels):
    cfg = Config.fromfile(config).model
    cfg.bbox_head.update(stc_levels=stc, str_levels=str_levels)
    detector = MODELS.build(dict(cfg, _scope_='mmdet')).eval()
    detector.load_state_dict(whole.state_dict(), strict=False)
    batch = small_srn.images(1, 96, 80)
    outputs = run_graph(detector, batch)
    [expected], [found] = run_detector(detector, batch), as_detections(outputs)
    parity = compare_detections(expected, found, 1e-3, 1e-5)
    assert parity.same and parity.pairs >= 10, parity


def test_a_query_branch_is_left_out(config, whole):
    """With a warning: the graph is dense, where the head finds nothing on P2."""
    cfg = Config.fromfile(config).model
    cfg.bbox_head.update(type='QuerySRNHead')
    cfg.test_cfg.query_thr = 1.0
    detector = MODELS.build(dict(cfg, _scope_='mmdet')).eval()
    detector.load_state_dict(whole.state_dict(), strict=False)
    batch = small_srn.images(1, 96, 80)
    with pytest.warns(UserWarning, match='branch of QuerySRNHead'):
        [found] = as_detections(run_graph(detector, batch))
    [expected] = run_detector(whole, batch)
    assert compare_detections(expected, found, 1e-3, 1e-5).same
    [asked] = run_detector(detector, batch)
    assert not compare_detections(expected, asked, 1e-3, 1e-5).same


def test_every_setting_matters(detector):
    """Those of the config that is exported; else comparisons would show little."""
    settings = dict(detector.bbox_head.test_cfg, max_per_img=10_000)
    batches = [small_srn.images(1, *size) for size in [(192, 192), *SIZES, (52, 52)]]
    number = {}
    for name, changed in {
        'as is': {},
        'score_thr': dict(score_thr=0.0),
        'small_map_cells': dict(small_map_cells=0),
        'small_map_score_thr': dict(small_map_score_thr=0.3),
        'nms_pre': dict(nms_pre=-1),
        'max_before_nms': dict(max_before_nms=-1),
        'iou_threshold': dict(nms=dict(settings['nms'], iou_threshold=0.4)),
        'offset': dict(nms=dict(settings['nms'], offset=0)),
        'max_per_img': dict(max_per_img=60),
        'theta': {},
    }.items():
        detector.bbox_head.theta = 1.0 if name == 'theta' else 0.7
        set_test_cfg(detector, {**settings, **changed})
        number[name] = [int(run_graph(detector, batch)[2]) for batch in batches]
    as_is = number.pop('as is')
    assert as_is not in number.values(), (as_is, number)


def test_outputs_are_sorted_and_padded(detector):
    set_test_cfg(detector, dict(score_thr=0.5, nms=NMS, max_per_img=75))
    batch = [*small_srn.images(1, 64, 64), np.zeros((64, 64, 3), np.uint8)]
    candidates = 2 * (16 * 16 + 8 * 8 + 4 * 4)
    for form, width in (('boxes', candidates), ('detections', 75)):
        boxes, scores, counts = run_graph(detector, batch, form)
        assert boxes.shape == (2, width, 4) and scores.shape == (2, width)
        assert counts[0] != counts[1] and counts.max() > 10
        assert (scores.diff(dim=1) <= 0).all()
        padding = torch.arange(width) >= counts[:, None]
        assert padding.any() and (scores[padding] == NO_SCORE).all()
        assert (boxes[padding] == 0).all() and (scores[~padding] > 0.5).all()


@pytest.mark.parametrize('divisor', [1, 32])
@pytest.mark.parametrize(
    'changed',
    [{}, dict(bgr_to_rgb=False), dict(mean=None, std=None), dict(pad_value=7)],
    ids=str,
)
def test_prepares_as_the_data_preprocessor(config, detector, divisor, changed):
    cfg = Config.fromfile(config).model.data_preprocessor
    settings = {**cfg, 'pad_size_divisor': divisor, **changed}
    detector.data_preprocessor = MODELS.build(dict(settings, _scope_='mmdet'))
    batch = small_srn.images(2, 70, 96)
    inputs = [torch.from_numpy(image.transpose(2, 0, 1).copy()) for image in batch]
    expected = detector.data_preprocessor(dict(inputs=inputs), False)['inputs']
    got = SRNGraph(detector, 'raw').preprocess(torch.from_numpy(np.stack(batch)))
    assert got.dtype == torch.float32
    torch.testing.assert_close(got, expected, rtol=0, atol=0)


def test_output_names_of_the_maps(detector):
    graph = SRNGraph(detector, 'raw')
    with torch.no_grad():
        outputs = graph(torch.zeros(1, 64, 96, 3, dtype=torch.uint8))
    shapes = {
        n: tuple(o.shape) for n, o in zip(graph.output_names, outputs, strict=True)
    }
    assert shapes == {
        'first_cls_score_0': (1, 2, 16, 24),
        'first_cls_score_1': (1, 2, 8, 12),
        'first_bbox_pred_1': (1, 8, 8, 12),
        'first_bbox_pred_2': (1, 8, 4, 6),
        'cls_score_0': (1, 2, 16, 24),
        'cls_score_1': (1, 2, 8, 12),
        'cls_score_2': (1, 2, 4, 6),
        'bbox_pred_0': (1, 8, 16, 24),
        'bbox_pred_1': (1, 8, 8, 12),
        'bbox_pred_2': (1, 8, 4, 6),
    }


def test_refuses_what_it_cannot_stand_for(config, detector):
    def refuses(message, *args):
        with pytest.raises(ValueError, match=message):
            SRNGraph(*args)

    refuses("not 'maps'", detector, 'maps')
    refuses('not Conv2d with NoneType', torch.nn.Conv2d(3, 3, 1))
    head, coder = detector.bbox_head, detector.bbox_head.bbox_coder
    detector.bbox_head = RetinaHead(num_classes=1, in_channels=16, feat_channels=16)
    refuses('with an SRNHead .* SingleStageDetector with RetinaHead', detector)
    detector.bbox_head = head
    head.bbox_coder = TBLRBBoxCoder()
    refuses('not TBLRBBoxCoder', detector)
    head.bbox_coder = coder
    detector.data_preprocessor = BatchFixedSizePad((64, 64))
    refuses('not BatchFixedSizePad', detector)
    several = Config.fromfile(config).model
    several.bbox_head.num_classes = 3
    several = MODELS.build(dict(several, _scope_='mmdet'))
    refuses('of one class can be exported, not of 3', several)
