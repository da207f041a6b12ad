"""Throw-away Python environments that the package is really installed into."""

import os
import shutil
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest

from tests.run_once import make_once

ROOT = Path(__file__).resolve().parents[2]

# What a build reads. Caches, environments and runs in the clone stay out of the copy,
# as they do for whoever clones it.
SOURCES = (
    'mmdet_srn',
    'configs',
    'tools',
    'pyproject.toml',
    'hatch_build.py',
    'model-index.yml',
    'README.md',
    'CHANGELOG.md',
    'LICENSE',
    '.gitignore',
)


def copy_sources(repo_root: Path, target: Path) -> Path:
    """Copies what a build reads into a new folder."""
    target.mkdir(parents=True)
    for name in SOURCES:
        source = repo_root / name
        if source.is_dir():
            ignore = shutil.ignore_patterns('__pycache__')
            shutil.copytree(source, target / name, ignore=ignore)
        else:
            shutil.copy2(source, target / name)
    return target


class Environment:
    """A virtual environment on top of the one that runs the tests.

    It sees the packages of that one through a .pth file. Files of that kind are
    not followed any further, so an editable installation there is out of sight.

    Args:
        folder: Where it is, or is made.
    """

    def __init__(self, folder: Path) -> None:
        if not folder.exists():
            venv.create(folder, with_pip=False, symlinks=os.name != 'nt')
        self.folder = folder
        self.python = folder / (
            'Scripts/python.exe' if os.name == 'nt' else 'bin/python'
        )
        self.site_packages = Path(
            self.run(
                '-c', 'import sysconfig; print(sysconfig.get_path("purelib"))'
            ).stdout.strip()
        )
        below = {sysconfig.get_path('purelib'), sysconfig.get_path('platlib')}
        Path(self.site_packages, '_packages_below.pth').write_text(
            '\n'.join(sorted(below)) + '\n', encoding='utf-8'
        )

    def install(self, *arguments: str | Path) -> None:
        """Installs without network, isolation and dependencies."""
        # --ignore-installed: pip would stop at an mmdet_srn of the environment below.
        self.run(
            *('-m', 'pip', 'install', '--quiet', '--no-index', '--no-deps'),
            *('--no-build-isolation', '--ignore-installed', '--no-compile'),
            *arguments,
        )

    def run(
        self,
        *arguments: str | Path,
        cwd: Path | None = None,
        check: bool = True,
        **variables: str,
    ) -> subprocess.CompletedProcess[str]:
        """Runs Python there, with the clone out of its sight.

        Args:
            *arguments: Python's arguments.
            cwd: The working folder, by default the environment's own.
            check: Whether to raise on a non-zero exit status, with the output's end.
            **variables: Environment variables to set.
        """
        environ = {
            name: value
            for name, value in os.environ.items()
            if name not in ('PYTHONPATH', 'PYTHONHOME', 'TORCH_FORCE_WEIGHTS_ONLY_LOAD')
        }
        environ |= {'OMP_NUM_THREADS': '2', 'PYTHONWARNINGS': 'ignore', **variables}
        result = subprocess.run(
            [self.python, *arguments],
            cwd=cwd or self.folder,
            env=environ,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=900,
        )
        if check and result.returncode != 0:
            command = ' '.join(map(str, arguments))
            end = '\n'.join(result.stdout.splitlines()[-60:])
            raise AssertionError(
                f'python {command}: exit status {result.returncode}, at its end:\n{end}'
            )
        return result


def clean_sources() -> Path:
    """Return a copy of what the clone has for a build, made once in a test run."""
    for module in ('build', 'editables', 'hatchling'):
        pytest.importorskip(module, reason=f'needs {module}, of the extra dev')
    return make_once('sources', lambda folder: copy_sources(ROOT, folder))


def editable() -> Environment:
    """Return an environment with an editable installation of that copy."""

    def make(folder: Path) -> None:
        Environment(folder).install('--editable', clean_sources())

    return Environment(make_once('editable', make))


def distributions() -> tuple[Path, Path]:
    """Return the sdist, and the wheel that is built from it, without network."""

    def build(out: Path) -> None:
        command = [sys.executable, '-m', 'build', '--no-isolation', '--outdir', out]
        subprocess.run(
            [*command, clean_sources()], check=True, stdout=subprocess.DEVNULL
        )

    out = make_once('dist', build)
    (sdist,) = out.glob('*.tar.gz')
    (wheel,) = out.glob('*.whl')
    return sdist, wheel


def installed_wheel() -> Environment:
    """Return an environment with that wheel installed."""

    def make(folder: Path) -> None:
        Environment(folder).install(distributions()[1])

    return Environment(make_once('wheel', make))
