"""Imports run one way, and some of them without the stack."""

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import mmdet_srn

PACKAGE = Path(mmdet_srn.__file__).parent
# They import nothing of mmdet_srn.
BASE = {'_lazy', '_stack', 'file_hash', 'folder_lock', 'trust', 'version', 'weights'}
#: Which part of the package may import which, beside itself and BASE.
ALLOWED = {
    '__init__': {'datasets', 'detector', 'engine', 'evaluation', 'models'},
    '__main__': {'detector', 'export_command', 'many'},
    '_mmdet_tools': {'__init__'},
    'checkpoint_file': set(),
    'datasets': set(),
    'evaluation': set(),
    'models': {'checkpoint_file'},
    'engine': {'checkpoint_file', 'evaluation', 'models'},
    'model_loader': {'checkpoint_file'},
    'deploy': {'engine', 'evaluation', 'model_loader', 'models'},
    'detector': {'__init__', 'deploy', 'evaluation', 'model_loader', 'models'},
    # For tools and commands; nothing else imports them.
    'benchmark': {'deploy', 'detector', 'evaluation', 'model_loader', 'models'},
    'ablation': {'checkpoint_file', 'evaluation', 'model_loader', 'models'},
    'export_command': {'deploy', 'detector', 'evaluation', 'model_loader'},
    'many': {'detector'},
}


def imported(path: Path) -> set[str]:
    """The parts of mmdet_srn that a file imports, anywhere in it."""
    folder = ['mmdet_srn', *path.relative_to(PACKAGE).parts[:-1]]
    names = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            start = folder[: len(folder) + 1 - node.level] if node.level else []
            module = [*start, *filter(None, [node.module])]
            names += ['.'.join([*module, alias.name]) for alias in node.names]
    parts = {name.split('.')[1] for name in names if name.startswith('mmdet_srn.')}
    return {'__init__' if part == 'register' else part for part in parts}


@pytest.mark.parametrize('path', sorted(PACKAGE.rglob('*.py')), ids=str)
def test_imports_run_one_way(path):
    part = path.relative_to(PACKAGE).with_suffix('').parts[0]
    allowed = BASE if part in BASE else ALLOWED[part] | BASE
    assert imported(path) <= allowed | {part}
    if part == 'detector':  # of deploy the runner alone
        found = re.findall(r'deploy import|deploy\.(\w+)', path.read_text())
        assert set(found) <= {'onnx_runner'}


BLOCKER = """
import sys
HIDDEN = ('torch', 'mmdet', 'mmcv', 'mmengine', 'scipy', 'pandas')
class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.split('.')[0] in HIDDEN:
            raise ModuleNotFoundError(f'no {name}', name=name)
sys.meta_path.insert(0, Blocker())
"""


def run(
    code: str, *arguments: str, env: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, '-W', 'ignore', '-c', code, *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=300, env=env)


def test_without_the_stack(tmp_path):
    """An exported file is run and its faces written; PyTorch's part says its needs.

    onnxruntime keeps nothing for a report of its use. It takes CI for a reason as well.
    """
    pytest.importorskip('onnxruntime')
    pytest.importorskip('onnx')
    from tests.test_detector.constant_onnx import write_onnx

    path = write_onnx(tmp_path / 'a.onnx')
    code = """
import numpy, mmdet_srn.datasets.checks, mmdet_srn.detector.writers
from mmdet_srn import FaceDetector, evaluation
image = numpy.zeros((8, 8, 3), 'u1')
print(FaceDetector(sys.argv[1]).detect(image).bboxes.tolist())
for use in (lambda: FaceDetector('a.py', 'a.pth'), lambda: mmdet_srn.models):
    try: use()
    except ImportError as error: print(str(error).splitlines()[0])
"""
    silencers = ('ORT_DISABLE_TELEMETRY', 'CI', 'GITHUB_ACTIONS', 'XDG_CACHE_HOME')
    env = {k: v for k, v in os.environ.items() if k not in silencers}
    done = run(BLOCKER + code, str(path), env=env | dict(HOME=str(tmp_path)))
    assert done.returncode == 0, done.stderr
    boxes, *errors = done.stdout.splitlines()
    assert boxes == '[[0.0, 0.0, 1.0, 1.0]]'
    assert len(errors) == 2 and all('mmengine is not installed' in e for e in errors)
    assert [entry.name for entry in tmp_path.iterdir()] == ['a.onnx']


def test_light_until_the_stack_is_needed(monkeypatch):
    monkeypatch.setenv('MMDET_SRN_LIGHT', '1')
    code = """
import sys, mmdet_srn.evaluation, mmdet_srn.detector, mmdet_srn.datasets
assert not {'torch', 'mmdet', 'mmcv', 'mmengine', 'pandas'} & set(sys.modules)
from mmdet.registry import METRICS, MODELS
assert MODELS.get('SRNHead') is None
mmdet_srn.register()
assert MODELS.get('SRNHead') and METRICS.get('WIDERFaceMetric')
"""
    done = run(code)
    assert done.returncode == 0, done.stderr
    assert done.stdout == ''  # mmdet's line about OneDL would stand among results
