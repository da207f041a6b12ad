"""The check of the OpenMMLab stack, with stacks that are broken."""

import importlib
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

import mmdet_srn
from mmdet_srn import _stack
from mmdet_srn._stack import MINIMUM_VERSIONS, check_stack, release

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


@pytest.mark.parametrize(
    ('hidden', 'problem'),
    [
        ('mmdet', 'mmdet is not installed'),
        ('mmcv._ext', "mmcv has no compiled operators (No module named 'mmcv._ext')"),
    ],
)
def test_import_without_a_module(tmp_path, hidden, problem):
    """In a process of its own; the last error is the one that a user reads."""
    (tmp_path / 'sitecustomize.py').write_text(SITECUSTOMIZE)
    package_root = Path(mmdet_srn.__file__).parent.parent
    path = os.pathsep.join([str(tmp_path), str(package_root)])
    result = subprocess.run(
        [sys.executable, '-W', 'ignore', '-c', CODE],
        cwd=tmp_path,
        env={**os.environ, 'PYTHONPATH': path, 'HIDDEN_MODULES': hidden},
        text=True,
        capture_output=True,
        timeout=600,
    )
    assert result.returncode == 1 and 'imported' not in result.stdout
    message = result.stderr[result.stderr.rindex('\nImportError: ') :]
    assert problem in message
    assert 'bash tools/setup.sh' in message and 'pip install' in message
    # Compiling takes minutes: asked for only where mmcv is the trouble.
    compiles = '--no-build-isolation --no-cache-dir --force-reinstall' in message
    assert compiles == (hidden == 'mmcv._ext')


@pytest.fixture
def message(monkeypatch):
    """What the check says where a module raises at import, or is another one."""

    def check(broken, found):
        def import_module(name):
            if name != broken:
                return importlib.import_module(name)
            if isinstance(found, Exception):
                raise found
            return found

        fake = SimpleNamespace(import_module=import_module)
        monkeypatch.setattr(_stack, 'importlib', fake)
        with pytest.raises(ImportError) as error:
            check_stack()
        assert 'bash tools/setup.sh' in str(error.value)
        return str(error.value)

    return check


def test_missing(message):
    said = message('mmcv', ModuleNotFoundError('No module', name='mmcv'))
    assert 'mmcv is not installed' in said
    assert '--no-build-isolation' in said and 'pip install -U' in said


def test_leftover_folder_counts_as_missing(message):
    assert 'mmdet is not installed' in message('mmdet', ModuleType('mmdet'))


def test_operators_of_another_torch(message):
    said = message('mmcv._ext', ImportError('undefined symbol: _ZN3c10'))
    assert 'built for another torch? (undefined symbol: _ZN3c10)' in said
    assert '--no-build-isolation' in said


def test_too_old(message):
    mmcv = ModuleType('mmcv')
    mmcv.__version__ = '1.7.2'
    said = message('mmcv', mmcv)
    assert f'mmcv 1.7.2 is older than {MINIMUM_VERSIONS["mmcv"]}' in said


def test_mmdet_that_refuses_its_mmcv(message):
    text = 'MMCV==2.2.0 is used but incompatible.'
    said = message('mmdet', AssertionError(text))
    assert f'mmdet cannot be imported ({text})' in said


@pytest.mark.parametrize(
    ('version', 'expected'),
    [
        ('2.13.0+cpu', (2, 13, 0)),
        ('2.0.0rc4', (2, 0, 0)),
        ('0.10', (0, 10)),
        ('unknown', ()),
    ],
)
def test_release(version, expected):
    assert release(version) == expected
