import pytest
import torch

from tests.test_models.test_dense_heads.test_srn_head import maps
from tests.test_models.test_dense_heads.test_srn_head_sparse import (
    SIZE,
    build,
    deferred,
    leave,
    predict,
)


@pytest.mark.parametrize('second_step', ['dense', 'sparse'])
def test_a_profiler_tells_the_parts_apart(second_step):
    head, x = build(), deferred(maps(2, SIZE), (0, 1))
    leave(head, x, 0.1)
    with torch.profiler.profile() as profile:
        predict(head, x, second_step)
    events = [e for e in profile.events() if e.name.startswith('srn.')]
    names = [event.name for event in events]
    parts = {'srn.first_step', 'srn.second_step', 'srn.selection', 'srn.nms'}
    # what the neck deferred is computed whole in dense alone
    assert set(names) == parts | ({'srn.neck'} if second_step == 'dense' else set())
    assert names.count('srn.selection') == names.count('srn.nms') == 2
    nested = [e for e in events if getattr(e.cpu_parent, 'name', '') == 'srn.selection']
    assert bool(nested) == (second_step == 'sparse')
