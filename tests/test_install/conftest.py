"""The package, built from a clean copy of the clone and installed in either way."""

from pathlib import Path

import pytest

from tests.test_install import environment
from tests.test_install.environment import Environment


@pytest.fixture
def sources() -> Path:
    """A clean copy of what the clone has for a build."""
    return environment.clean_sources()


@pytest.fixture
def distributions() -> tuple[Path, Path]:
    """The sdist and the wheel that is built from it."""
    return environment.distributions()


@pytest.fixture
def editable_environment() -> Environment:
    """An environment with an editable installation of the copy."""
    return environment.editable()


@pytest.fixture(scope='session')
def wheel_environment() -> Environment:
    """An environment with the wheel installed."""
    return environment.installed_wheel()
