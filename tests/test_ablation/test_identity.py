from hypothesis import given
from hypothesis import strategies as st

from mmdet_srn.ablation.identity import differences, digest, settings

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


def test_differences_are_named():
    one = dict(a=dict(b=[1, 2], c=None), d=1)
    other = dict(a=dict(b=[1, 3, 4], c=None), e=dict())
    assert differences(one, other) == [
        'a.b.1: 2 -> 3',
        'a.b.2: not there -> 4',
        'd: 1 -> not there',
        'e: not there -> {}',
    ]
