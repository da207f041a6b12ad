"""Loads a script of tools/ as a module."""

import importlib.util
from pathlib import Path
from types import ModuleType

TOOLS = Path(__file__).resolve().parent.parent / 'tools'


def load_tool(name: str) -> ModuleType:
    """Load tools/``name``.py anew, without running its ``main``."""
    spec = importlib.util.spec_from_file_location(name, TOOLS / f'{name}.py')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
