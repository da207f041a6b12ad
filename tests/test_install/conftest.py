"""The package, built from a clean copy of the clone and installed in either way."""

from pathlib import Path

import pytest

from tests.test_install.environment import (
    Environment,
    build_distributions,
    copy_sources,
)


@pytest.fixture(scope='session')
def sources(repo_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clean copy of what the clone has for a build."""
    for module in ('build', 'editables', 'hatchling'):
        pytest.importorskip(module, reason=f'needs {module}, of the extra dev')
    return copy_sources(repo_root, tmp_path_factory.mktemp('sources') / 'clone')


@pytest.fixture(scope='session')
def distributions(
    sources: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, Path]:
    """The sdist and the wheel that is built from it."""
    return build_distributions(sources, tmp_path_factory.mktemp('dist'))


@pytest.fixture(scope='session')
def editable_environment(
    sources: Path, tmp_path_factory: pytest.TempPathFactory
) -> Environment:
    """An environment with an editable installation of the copy."""
    environment = Environment(tmp_path_factory.mktemp('editable') / 'env')
    environment.install('--editable', sources)
    return environment


@pytest.fixture(scope='session')
def wheel_environment(
    distributions: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory
) -> Environment:
    """An environment with the wheel installed."""
    environment = Environment(tmp_path_factory.mktemp('wheel') / 'env')
    environment.install(distributions[1])
    return environment
