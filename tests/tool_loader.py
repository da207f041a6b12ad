"""Loads a script of tools/ as a module; runs scripts and Python without the stack."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any
from unittest import mock

TOOLS = Path(__file__).resolve().parent.parent / 'tools'
_BLOCKED = """
import runpy, sys
for name in ('torch', 'mmdet', 'mmcv', 'mmengine', 'onnx'):
    sys.modules[name] = None
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name='__main__')
"""


def find_tool(name: str) -> Path:
    """Find ``name``.py in the folders of tools/."""
    (path,) = TOOLS.rglob(f'{name}.py')
    return path


def load_tool(name: str) -> ModuleType:
    """Load a script anew, without running its ``main``."""
    spec = importlib.util.spec_from_file_location(name, find_tool(name))
    module = importlib.util.module_from_spec(spec)
    # Some tools ask for mmdet_srn without mmdet; other tests need it in full.
    light = mock.patch.dict(os.environ, MMDET_SRN_LIGHT='0')
    with light, mock.patch('sys.path', [*sys.path]):
        spec.loader.exec_module(module)
    return module


def run_light(*words: object, cwd: Path = TOOLS.parent, **options: Any) -> Any:
    """Run Python without mmdet, whose import takes seconds; the process, in bytes."""
    return subprocess.run(
        [sys.executable, '-W', 'ignore', *words],
        env={**os.environ, 'PYTHONPATH': str(TOOLS.parent), 'MMDET_SRN_LIGHT': '1'},
        cwd=cwd,
        capture_output=True,
        timeout=300,
        **options,
    )


def run_without_stack(name: str, *arguments: object) -> subprocess.CompletedProcess:
    """Run a script where neither PyTorch nor anything of OpenMMLab can be imported."""
    command = [sys.executable, '-c', _BLOCKED, find_tool(name), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=300)
