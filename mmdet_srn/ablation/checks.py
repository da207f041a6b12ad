"""What is seen to before anything trains: that the tables' cells fit what is asked."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from mmengine.config import Config

from .identity import explain, settings
from .tables import Table

#: Of an SRN: the cells name levels 0 to 5, P2 to P7.
NUM_LEVELS = 6


def check_srn(name: str, cfg: Config) -> None:
    """See that a config is an SRN that cells can be put on and that can be measured.

    Args:
        name: What it is called in an error.
        cfg: The config.

    Raises:
        ValueError: If it is not.
    """
    for part in ('val_evaluator', 'test_evaluator'):
        if (found := _type_of(cfg.get(part))) != 'WIDERFaceMetric':
            raise ValueError(
                f'{name}: {part} must be one WIDERFaceMetric, it is {found}'
            )
    model = cfg.get('model') or {}
    neck = model.get('neck')
    if isinstance(neck, (list, tuple)) and neck:
        neck = neck[0]
    if (found := _type_of(neck)) != 'SRNFPN':
        raise ValueError(
            f'{name}: the neck must be an SRNFPN, or begin with one, as the cells set '
            f'its first_levels; it is {found}'
        )
    head = model.get('bbox_head')
    anchors = head.get('anchor_generator') if isinstance(head, dict) else None
    strides = anchors.get('strides', ()) if isinstance(anchors, dict) else ()
    if len(strides) != NUM_LEVELS:
        raise ValueError(
            f'{name}: the anchors of bbox_head must have {NUM_LEVELS} strides, of P2 '
            f'to P7, as the cells name levels 0 to {NUM_LEVELS - 1}; they have '
            f'{len(strides)}'
        )


def check_test(name: str, cfg: Config, tta: bool) -> None:
    """See that a run's metrics are of one definition alone.

    Args:
        name: What the config is called in an error.
        cfg: The config.
        tta: Whether the test is the multi-scale one, instead of the validation.

    Raises:
        ValueError: If validation and test, of which either may be shown, differ, or
            there is no multi-scale test.
    """
    if tta:
        if 'tta_model' not in cfg:
            raise ValueError(f'{name}: the base has no tta_model (--tta)')
        return
    for one, other in (
        ('val_evaluator', 'test_evaluator'),
        ('val_dataloader.dataset', 'test_dataloader.dataset'),
    ):
        parts = [settings(_part(cfg, key)) for key in (one, other)]
        if parts[0] != parts[1]:
            raise ValueError(
                f'{name}: {one} and {other} differ, so validation, which a run is '
                'judged by, and test are not one figure; set both the same '
                f'(theirs -> the other):\n{explain(*parts)}'
            )


def check_options(
    options: Iterable[str],
    tables: Mapping[str, Table],
    configs: Mapping[str | None, Config],
) -> None:
    """See that options leave alone what the cells of the tables set.

    Args:
        options: Names of the settings, with dots.
        tables: The tables asked for.
        configs: Each cell's whole config without the options; None: the base.

    Raises:
        ValueError: If an option's key, a parent or a child of it is one that a cell has
            otherwise than the base: the row would not be what its label says.
    """
    base = configs[None].to_dict()
    for table_name, table in tables.items():
        for cell in table.cells:
            for key in _set_by(base, configs[cell.config].to_dict()):
                for option in options:
                    if _overlap(key, option):
                        raise ValueError(
                            f'--cfg-options {option}: {key} is what the cell '
                            f'{cell.config} of table {table_name} sets itself'
                        )


def _set_by(base: Any, cell: Any, prefix: str = '') -> Iterator[str]:
    """Keys that a cell has otherwise than the base; a list is one value."""
    if not (isinstance(base, dict) and isinstance(cell, dict)):
        if base != cell:
            yield prefix
        return
    for key in sorted(base.keys() | cell.keys()):
        place = f'{prefix}.{key}' if prefix else key
        if key in base and key in cell:
            yield from _set_by(base[key], cell[key], place)
        else:
            yield place


def _overlap(one: str, other: str) -> bool:
    return f'{one}.'.startswith(f'{other}.') or f'{other}.'.startswith(f'{one}.')


def _type_of(part: Any) -> str:
    """Name of the class that a part of a config is built of, without its scope."""
    if not isinstance(part, dict):
        return 'none' if part is None else f'a {type(part).__name__}'
    type_ = part.get('type')
    return getattr(type_, '__name__', str(type_)).rpartition('.')[2]


def _part(cfg: Config, name: str) -> Any:
    """A dict of the config, by its name with dots."""
    for key in name.split('.'):
        cfg = cfg[key]
    return cfg
