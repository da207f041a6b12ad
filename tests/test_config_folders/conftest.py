"""What the tests of small networks share."""

from collections.abc import Iterator

import pytest
import torch


@pytest.fixture(autouse=True, scope='module')
def one_thread() -> Iterator[None]:
    """Small maps take longer where threads share them, several times on a busy CPU."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
