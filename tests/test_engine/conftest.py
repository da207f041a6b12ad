from pathlib import Path

import pytest

from tests.training import write_data_set


@pytest.fixture(scope='session')
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four noise images to train on, two to validate on."""
    return write_data_set(tmp_path_factory.mktemp('data') / 'noise', [3, 1, 4, 2])
