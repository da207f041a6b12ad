"""Attributes that are replaced for a while."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

_MISSING = object()


@contextmanager
def replaced(owner: Any, name: str, value: Any) -> Iterator[None]:
    """Set an attribute, and bring back what was there.

    Args:
        owner (Any): An object, a module of a network or a class.
        name (str): Name of the attribute.
        value (Any): Its value in the meantime.

    Yields:
        None: In the meantime.
    """
    before = vars(owner).get(name, _MISSING)
    setattr(owner, name, value)
    try:
        yield
    finally:
        if before is _MISSING:
            delattr(owner, name)
        else:
            setattr(owner, name, before)
