"""What all tests share."""

import logging
import os
import random
import tempfile
from collections.abc import Generator, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import settings
from mmengine.logging import MMLogger

REPO_ROOT = Path(__file__).resolve().parent.parent

# Sums depend, in their last bits, on how many threads share them, and small maps take
# longer so. Two cores have a process each, see tools/run_tests.sh.
torch.set_num_threads(1)

# The same examples in each run, however long each takes.
settings.register_profile('same', derandomize=True, deadline=None)
settings.load_profile('same')


#: The longest files. They come first, so that no process is left with one at the end.
LONG = (
    *('test_mim.py', 'test_onnx_export.py', 'test_ablate.py', 'test_survival.py'),
    *('test_training.py', 'test_distributed.py', 'test_measuring.py'),
)


def pytest_configure(config: pytest.Config) -> None:
    """Make a folder for what the processes of this run share, see tests/run_once.py."""
    if not hasattr(config, 'workerinput'):
        folder = tempfile.TemporaryDirectory(prefix='mmdet_srn_tests_')
        config.add_cleanup(folder.cleanup)
        os.environ['MMDET_SRN_RUN_FOLDER'] = folder.name  # pytest-xdist's inherit it


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the tests of the longest files first."""
    items.sort(key=lambda item: item.path.name not in LONG)


@pytest.fixture(autouse=True)
def seeded() -> None:
    """Starts each test from the same random state, whichever ran before it."""
    random.seed(0)
    np.random.seed(0)
    torch.manual_seed(0)


@pytest.fixture(autouse=True)
def open_logs() -> None:
    """Takes closed log files from mmengine's loggers, which outlive their test.

    A web server's start closes all that are open, and models write into the current.
    """
    for logger in MMLogger._instance_dict.values():
        for handler in list(logger.handlers):
            if isinstance(handler, logging.FileHandler) and handler.stream is None:
                logger.removeHandler(handler)


@pytest.fixture
def log(request: pytest.FixtureRequest) -> Iterator[list[logging.LogRecord]]:
    """What mmengine's logger says meanwhile; it is none that pytest listens to."""
    records: list[logging.LogRecord] = []
    handler = logging.Handler(logging.INFO)
    handler.emit = records.append
    logger = MMLogger.get_instance(request.node.nodeid)  # a new one is the current one
    logger.addHandler(handler)
    yield records
    logger.removeHandler(handler)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[
    None, pytest.TestReport, pytest.TestReport
]:
    """Spells names that are not UTF-8 out; pytest-xdist stops at them."""
    report = yield
    report.sections = [
        (title, text.encode(errors='backslashreplace').decode())
        for title, text in report.sections
    ]
    return report


@pytest.fixture(scope='session')
def repo_root() -> Path:
    """The root of the clone that holds the tests."""
    return REPO_ROOT


@pytest.fixture(scope='session')
def shared_data() -> Path:
    """The data/ folder that is no part of the repository; skips where it is not."""
    shared = Path(os.environ.get('MMDET_SRN_SHARED', REPO_ROOT.parent / 'shared'))
    data = shared / 'data'
    if not data.is_dir():
        pytest.skip(f'needs the data in {data} (MMDET_SRN_SHARED names its parent)')
    return data
