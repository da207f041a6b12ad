import pytest
from torch import nn

from mmdet_srn.analysis.replaced import replaced


class Thing:
    kind = 'class'

    def method(self):
        return 'stock'


def test_of_an_object():
    thing = Thing()
    with replaced(thing, 'method', lambda: 'other'):
        assert thing.method() == 'other'
        assert Thing().method() == 'stock'
    assert thing.method() == 'stock' and not vars(thing)


def test_what_the_object_had_itself():
    thing = Thing()
    thing.kind = 'own'
    with replaced(thing, 'kind', 'other'):
        assert thing.kind == 'other'
    assert vars(thing) == dict(kind='own')


def test_of_a_class():
    with replaced(Thing, 'method', lambda self: 'other'):
        assert Thing().method() == 'other'
    assert Thing().method() == 'stock'


def test_of_a_module():
    module = nn.Linear(1, 1)
    with replaced(module, 'forward', lambda x: 'other'):
        assert module(None) == 'other'
    assert 'forward' not in vars(module)


def test_after_an_error():
    thing = Thing()
    with pytest.raises(RuntimeError), replaced(thing, 'method', None):
        raise RuntimeError
    assert thing.method() == 'stock'
