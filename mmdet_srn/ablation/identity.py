"""Whether two runs are the same: compared by all that decides what comes out."""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

#: Settings of where a run goes, not of what comes out.
_PLACES = ('work_dir', 'launcher', 'resume')
#: Of a data loader: how its data are read, not which.
_READING = ('num_workers', 'persistent_workers', 'pin_memory', 'prefetch_factor')
#: What is said of a run while it lasts.
_LOGGING = ('log_level', 'log_processor', 'vis_backends', 'visualizer')
#: Of the hooks: what writes, or tests the same in less time.
_OTHER_HOOKS = ('logger', 'visualization', 'fold_norms')
#: Hooks and schedulers that go by the metrics of the validation.
_BY_VALIDATION = ('EarlyStopping', 'ReduceOnPlateau')


class Identity(NamedTuple):
    """What runs are compared by.

    Attributes:
        training: Digest of what decides the weights.
        test: Digest of what decides the figures, the weights given.
    """

    training: str
    test: str


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


def identify(settings: Mapping[str, Any]) -> Identity:
    """Compute a run's identity from its settings."""
    return Identity(
        digest(training_settings(settings)), digest(_test_settings(settings))
    )


def training_settings(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Those that decide the weights.

    Args:
        settings: All, from :func:`settings`.

    Returns:
        All but those of the test, of reading and of logging. Validation's stay in where
        it decides how long is trained or which weights are kept.
    """
    left_out = ['test_', 'tta']
    model = dict(settings.get('model') or {})
    if not _validation_decides(settings):
        left_out.append('val_')
        model.pop('test_cfg', None)
    kept = {
        key: value
        for key, value in _deciding(settings).items()
        if not key.startswith(tuple(left_out))
    }
    return {**kept, 'model': model}


def _test_settings(settings: Mapping[str, Any]) -> dict[str, Any]:
    # Without --tta the validation is the test.
    sections = ('test_', 'tta') if settings.get('tta') else ('test_', 'val_')
    kept = {
        key: value
        for key, value in _deciding(settings).items()
        if key.startswith(sections)
    }
    model = settings.get('model') or {}
    return {**kept, 'model': {'test_cfg': model.get('test_cfg')}}


def _deciding(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings without those that decide neither weights nor figures."""
    kept = _without(settings, _LOGGING)
    for key, part in kept.items():
        if key.endswith('_dataloader') and isinstance(part, dict):
            kept[key] = _without(part, _READING)
        elif key == 'default_hooks' and isinstance(part, dict):
            kept[key] = _without(part, _OTHER_HOOKS)
    return kept


def _without(part: Mapping[str, Any], names: Sequence[str]) -> dict[str, Any]:
    return {key: value for key, value in part.items() if key not in names}


def _validation_decides(settings: Mapping[str, Any]) -> bool:
    parts = {
        name: settings.get(name)
        for name in ('default_hooks', 'custom_hooks', 'param_scheduler')
    }
    for key, value in _flat(parts):
        names = key.split('.')
        if 'save_best' in names and value:
            return True
        if names[-1] == 'type' and any(name in str(value) for name in _BY_VALIDATION):
            return True
    return False


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


def explain(old: Mapping[str, Any], new: Mapping[str, Any], limit: int = 5) -> str:
    """What differs between the settings of two runs, in a few lines."""
    lines = differences(old, new)
    left = len(lines) - limit
    return '\n'.join(
        f'    {line}' for line in [*lines[:limit], *([f'... {left} more'] * (left > 0))]
    )


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
