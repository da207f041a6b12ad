import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmdet_srn.ablation.identity import differences, digest, identify, settings

values = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.text('ab', max_size=2),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from('xyz'), inner, max_size=3)
    ),
    max_leaves=8,
)
wholes = st.dictionaries(st.sampled_from('abc'), values, max_size=3)


@given(wholes, wholes)
def test_same_digest_same_settings_no_differences(one, other):
    one, other = settings(one), settings(other)
    same = one == other and repr(one) is not None
    assert (digest(one) == digest(other)) == (_typed(one) == _typed(other))
    if _typed(one) == _typed(other):
        assert same and differences(one, other) == []
    elif not same:
        assert differences(one, other) != []


def _typed(value):
    """1 and True are equal in Python, not in a config."""
    if isinstance(value, dict):
        return {key: _typed(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_typed(item) for item in value]
    return type(value), value


def test_tuples_are_lists_and_places_do_not_count():
    one = dict(model=dict(levels=(0, 1)), work_dir='a', launcher='none', resume=False)
    other = dict(model=dict(levels=[0, 1]), work_dir='b', launcher='x', resume=True)
    assert digest(settings(one)) == digest(settings(other))
    assert digest(settings(one, processes=1)) != digest(settings(one, processes=8))


WHOLE = dict(
    model=dict(neck=1, test_cfg=dict(score_thr=0.1)),
    train_dataloader=dict(batch_size=2, num_workers=1),
    val_dataloader=dict(batch_size=1, num_workers=1),
    val_evaluator=dict(type='WIDERFaceMetric'),
    test_evaluator=dict(type='WIDERFaceMetric'),
    tta_model=dict(max_size=1400),
    default_hooks=dict(logger=dict(interval=50), checkpoint=dict(interval=1)),
    visualizer=dict(name='v'),
    tta=False,
)


@pytest.mark.parametrize(
    ('changed', 'decides'),
    [
        (dict(model=dict(WHOLE['model'], neck=2)), 'training'),
        (dict(train_dataloader=dict(batch_size=4, num_workers=1)), 'training'),
        (dict(default_hooks=dict(checkpoint=dict(interval=2))), 'training'),
        (dict(processes=8), 'training'),
        (dict(model=dict(neck=1, test_cfg=dict(score_thr=0.2))), 'test'),
        (dict(val_evaluator=dict(type='WIDERFaceMetric', gt_dir='x')), 'test'),
        (dict(test_evaluator=dict(type='WIDERFaceMetric', gt_dir='x')), 'test'),
        (dict(tta=True), 'test'),
        (dict(tta_model=dict(max_size=2100)), ''),
        (dict(train_dataloader=dict(batch_size=2, pin_memory=True)), ''),
        (dict(val_dataloader=dict(batch_size=1, persistent_workers=True)), ''),
        (dict(visualizer=None, log_level='DEBUG'), ''),
        (dict(default_hooks=dict(checkpoint=dict(interval=1))), ''),
        (dict(default_hooks=dict(checkpoint=dict(interval=1), fold_norms={})), ''),
    ],
)
def test_what_decides_weights_and_what_figures(changed, decides):
    one, other = identify(WHOLE), identify({**WHOLE, **changed})
    assert (
        one.training != other.training
        if decides == 'training'
        else (one.training == other.training)
    )
    assert one.test != other.test if decides == 'test' else one.test == other.test


def test_tta_goes_by_its_model_and_not_by_the_validation():
    whole = {**WHOLE, 'tta': True}
    looser = dict(val_evaluator=dict(type='WIDERFaceMetric', iou_thr=0.4))
    assert identify(whole) == identify({**whole, **looser})
    larger = identify({**whole, 'tta_model': dict(max_size=2100)})
    assert larger.test != identify(whole).test
    assert larger.training == identify(whole).training


@pytest.mark.parametrize(
    'uses_it',
    [
        dict(default_hooks=dict(checkpoint=dict(save_best='widerface/AP'))),
        dict(default_hooks=dict(checkpoint=dict(save_best=['widerface/AP']))),
        dict(custom_hooks=[dict(type='mmengine.EarlyStoppingHook', monitor='AP')]),
        dict(param_scheduler=[dict(type='ReduceOnPlateauLR', monitor='AP')]),
    ],
)
def test_validation_that_decides_the_weights_is_of_the_training(uses_it):
    whole = {**WHOLE, **uses_it}
    for changed in (
        dict(val_evaluator=dict(type='WIDERFaceMetric', iou_thr=0.4)),
        dict(model=dict(neck=1, test_cfg=dict(score_thr=0.2))),
    ):
        other = identify({**whole, **changed})
        assert other.training != identify(whole).training
        assert identify({**WHOLE, **changed}).training == identify(WHOLE).training
    tested = {**whole, 'test_evaluator': dict(type='WIDERFaceMetric', iou_thr=0.4)}
    assert identify(tested).training == identify(whole).training


def test_differences_are_named():
    one = dict(a=dict(b=[1, 2], c=None), d=1)
    other = dict(a=dict(b=[1, 3, 4], c=None), e=dict())
    assert differences(one, other) == [
        'a.b.1: 2 -> 3',
        'a.b.2: not there -> 4',
        'd: 1 -> not there',
        'e: not there -> {}',
    ]
