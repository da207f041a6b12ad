"""Loads a script of tools/ as a module."""

import importlib.util
import os
import sys
from pathlib import Path
from types import ModuleType
from unittest import mock

TOOLS = Path(__file__).resolve().parent.parent / 'tools'


def load_tool(name: str) -> ModuleType:
    """Load tools/``name``.py anew, without running its ``main``."""
    import mmdet_srn  # noqa: F401  in full: some tools ask for the light form

    spec = importlib.util.spec_from_file_location(name, TOOLS / f'{name}.py')
    module = importlib.util.module_from_spec(spec)
    with mock.patch.dict(os.environ), mock.patch('sys.path', [*sys.path]):
        spec.loader.exec_module(module)
    return module
