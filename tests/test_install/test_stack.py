"""The check of the OpenMMLab stack, in real processes with a broken stack."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import mmdet_srn
from mmdet_srn._stack import MINIMUM_VERSIONS, release

# Run by Python's site module before anything else: hides modules, as if they had
# never been installed.
SITECUSTOMIZE = """
import os
import sys


class Hider:
    hidden = os.environ['HIDDEN_MODULES'].split()

    def find_spec(self, name, path=None, target=None):
        if name in self.hidden:
            raise ModuleNotFoundError(f'No module named {name!r}', name=name)


sys.meta_path.insert(0, Hider())
"""


CODE = 'import mmdet_srn; from mmdet_srn import models; print("imported")'


def _import_mmdet_srn(
    folder: Path, hidden: str = '', **modules: str
) -> subprocess.CompletedProcess[str]:
    """Imports mmdet_srn in a process of its own.

    Args:
        folder: An empty folder.
        hidden: Names of modules that cannot be found, with blanks between them.
        **modules: Source of packages that hide the installed ones of that name.
    """
    (folder / 'sitecustomize.py').write_text(SITECUSTOMIZE)
    for name, source in modules.items():
        (folder / name).mkdir()
        (folder / name / '__init__.py').write_text(source)
    package_root = Path(mmdet_srn.__file__).parent.parent
    path = os.pathsep.join([str(folder), str(package_root)])
    return subprocess.run(
        [sys.executable, '-W', 'ignore', '-c', CODE],
        cwd=folder,
        env={**os.environ, 'PYTHONPATH': path, 'HIDDEN_MODULES': hidden},
        text=True,
        capture_output=True,
        timeout=600,
    )


def _message(result: subprocess.CompletedProcess[str]) -> str:
    """The last error, which is the one that a user reads."""
    assert result.returncode == 1, result.stdout
    return result.stderr[result.stderr.rindex('\nImportError: ') :]


@pytest.mark.parametrize('name', ['mmcv', 'mmdet'])
def test_missing_package(tmp_path: Path, name: str) -> None:
    message = _message(_import_mmdet_srn(tmp_path, hidden=name))
    assert f'{name} is not installed' in message
    assert 'bash tools/setup.sh' in message
    assert 'pip install -U' in message
    # Compiling takes minutes: asked for only where mmcv is the trouble.
    assert ('--no-build-isolation' in message) == (name == 'mmcv')


def test_leftover_folder_counts_as_missing(tmp_path: Path) -> None:
    message = _message(_import_mmdet_srn(tmp_path, mmdet=''))
    assert 'mmdet is not installed' in message


def test_mmcv_without_operators(tmp_path: Path) -> None:
    result = _import_mmdet_srn(tmp_path, hidden='mmcv._ext')
    message = _message(result)
    assert 'mmcv has no compiled operators' in message
    assert "No module named 'mmcv._ext'" in message
    assert '--no-build-isolation --no-cache-dir --force-reinstall' in message
    assert 'bash tools/setup.sh' in message
    assert 'imported' not in result.stdout


def test_operators_of_another_torch(tmp_path: Path) -> None:
    source = "raise ImportError('undefined symbol: _ZN3c10')"
    mmcv = f"__version__ = '2.3.6'\n__path__ = [{str(tmp_path / 'mmcv')!r}]"
    (tmp_path / 'mmcv').mkdir()
    (tmp_path / 'mmcv' / '_ext.py').write_text(source)
    (tmp_path / 'mmcv' / '__init__.py').write_text(mmcv)
    message = _message(_import_mmdet_srn(tmp_path))
    assert 'built for another torch? (undefined symbol: _ZN3c10)' in message
    assert '--no-build-isolation' in message


def test_too_old(tmp_path: Path) -> None:
    message = _message(_import_mmdet_srn(tmp_path, mmcv="__version__ = '1.7.2'"))
    assert f'mmcv 1.7.2 is older than {MINIMUM_VERSIONS["mmcv"]}' in message
    assert 'pip install' in message


def test_mmdet_that_refuses_its_mmcv(tmp_path: Path) -> None:
    source = "assert False, 'MMCV==2.2.0 is used but incompatible.'"
    message = _message(_import_mmdet_srn(tmp_path, mmdet=source))
    assert 'mmdet cannot be imported (MMCV==2.2.0 is used but incompatible.)' in message


@pytest.mark.parametrize(
    ('version', 'expected'),
    [
        ('2.13.0+cpu', (2, 13, 0)),
        ('2.0.0rc4', (2, 0, 0)),
        ('0.10', (0, 10)),
        ('unknown', ()),
    ],
)
def test_release(version: str, expected: tuple[int, ...]) -> None:
    assert release(version) == expected
