"""Loads a script of tools/ as a module."""

import importlib.util
import os
import sys
from pathlib import Path
from types import ModuleType
from unittest import mock

TOOLS = Path(__file__).resolve().parent.parent / 'tools'


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
