"""Packages that import a name when it is first read (PEP 562)."""

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any


def lazy_names(package: str, places: Mapping[str, str]) -> Callable[[str], Any]:
    """Make a package's ``__getattr__``.

    Args:
        package: Its full name.
        places: By name, the relative module that holds it; the module itself if it
            has that name.
    """

    def __getattr__(name: str) -> Any:
        if name not in places:
            raise AttributeError(f'module {package!r} has no attribute {name!r}')
        module = import_module(places[name], package)
        return module if places[name] == f'.{name}' else getattr(module, name)

    return __getattr__
