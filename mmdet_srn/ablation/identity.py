"""Whether two runs are the same: compared by all that they are made of."""

import hashlib
import json
from collections.abc import Iterator, Mapping
from typing import Any

#: Settings of where a run goes, not of what comes out.
_PLACES = ('work_dir', 'launcher', 'resume')


def settings(cfg: Mapping[str, Any], **more: Any) -> dict[str, Any]:
    """All that a run is made of, as JSON has it (tuples as lists).

    Args:
        cfg: The whole config, bases and options merged.
        **more: What is not in it, such as the number of processes.

    Returns:
        Plain data.
    """
    kept = {key: value for key, value in cfg.items() if key not in _PLACES}
    return json.loads(json.dumps({**kept, **more}, sort_keys=True, default=repr))


def digest(settings: Mapping[str, Any]) -> str:
    """A name for settings: equal if and only if they are."""
    text = json.dumps(settings, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def differences(one: Any, other: Any) -> list[str]:
    """Where two settings differ.

    Args:
        one: Settings, from :func:`settings`.
        other: The others.

    Returns:
        ``name.in.dots: value -> value`` of each, in the order of the names.
    """
    old, new = dict(_flat(one)), dict(_flat(other))
    return [
        f'{key}: {old.get(key, "not there")} -> {new.get(key, "not there")}'
        for key in sorted(old.keys() | new.keys())
        if old.get(key, _ABSENT) != new.get(key, _ABSENT)
    ]


_ABSENT = object()


def _flat(value: Any, prefix: str = '') -> Iterator[tuple[str, Any]]:
    items: Iterator[tuple[Any, Any]]
    if isinstance(value, dict) and value:
        items = iter(value.items())
    elif isinstance(value, list) and value:
        items = iter(enumerate(value))
    else:
        yield prefix, value
        return
    for key, item in items:
        yield from _flat(item, f'{prefix}.{key}' if prefix else str(key))
