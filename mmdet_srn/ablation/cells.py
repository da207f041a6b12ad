"""Cells of the tables on a base config, and the folder of each run."""

import hashlib
import json
import re
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from pprint import pformat
from typing import Any, NamedTuple

from mmengine.config import Config

from .tables import Table

#: Name of the cell that is the base config itself.
BASE = 'base'
#: The cells name the levels P2 to P7, 0 to 5.
NUM_LEVELS = 6
#: Settings that change neither the weights nor the figures.
_NEITHER = re.compile(
    r'(work_dir|launcher|resume|log_level|log_processor|vis_backends|visualizer'
    r'|default_hooks\.(logger|visualization|fold_norms)|\w+_dataloader\.'
    r'(num_workers|persistent_workers|pin_memory|prefetch_factor))(\.|$)'
)
_TEST = re.compile(r'test_|tta_|model\.test_cfg')
_BY_VALIDATION = re.compile('EarlyStopping|ReduceOnPlateau')


class Run(NamedTuple):
    """One cell with one seed.

    Attributes:
        name: Name of the cell.
        seed: The seed.
        cfg: The whole config.
        folder: Of the training; named by the cell, its settings and the seed.
        tested: Of the test, in ``folder``; named by the settings of the test. The run
            is finished if its ``result.json`` is there.
    """

    name: str
    seed: int
    cfg: Config
    folder: Path
    tested: Path

    @property
    def config(self) -> Path:
        """File of the whole config."""
        return self.tested / f'{self.name}.py'

    @property
    def result(self) -> dict[str, Any] | None:
        """Metrics and budget; None if the run is not finished."""
        path = self.tested / 'result.json'
        return json.loads(path.read_text('utf-8')) if path.is_file() else None


def resolve(
    tables: Mapping[str, Table], base: Path, ablations: Path, options: Mapping[str, Any]
) -> dict[str | None, Config]:
    """Put the cells of tables on a base.

    Args:
        tables: Name -> table.
        base: Config of an SRN.
        ablations: Folder of the cells' configs.
        options: Settings of all cells, by dotted name.

    Returns:
        Name of each cell -> its whole config; None: the base itself.

    Raises:
        FileNotFoundError: If there is no such base.
        ValueError: If the cells do not fit the base, or an option sets what a cell of
            the tables sets.
    """
    if not base.is_file():
        raise FileNotFoundError(f'{base}: no such config (--base)')
    whole = Config.fromfile(base, import_custom_modules=False)
    _check_srn(base.name, _merge(whole, options))
    cells: dict[str | None, Config] = {None: whole}
    with tempfile.TemporaryDirectory() as folder:
        # Once: mmengine takes long to find what 'mmdet::' stands for.
        flat = Path(folder) / 'whole.py'
        flat.write_text(as_python(whole), 'utf-8')
        for name in {
            cell.config: None for table in tables.values() for cell in table.cells
        }:
            if name is not None:
                cells[name] = _rebase(ablations / f'{name}.py', flat, base.name)
    own = dict(_flatten(whole.to_dict()))
    for name, cfg in cells.items():
        theirs = dict(_flatten(cfg.to_dict()))
        differ = {k for k in own.keys() | theirs.keys() if own.get(k) != theirs.get(k)}
        for key in sorted(differ | (own.keys() ^ theirs.keys())):
            for option in options:
                if f'{key}.'.startswith(f'{option}.') or option.startswith(f'{key}.'):
                    raise ValueError(f'--cfg-options {option}: cell {name} sets {key}')
        cells[name] = _merge(cfg, options)
        _check_srn(name or BASE, cells[name])
    return cells


def place(
    work_dir: Path,
    names: dict[str, str],
    name: str | None,
    seed: int,
    cfg: Config,
    gpus: int,
    tta: bool,
) -> Run:
    """Find the folder of a run: the one of the same training, under whatever name.

    Args:
        work_dir: Folder of all runs.
        names: Digest of each training placed so far -> its name; gets this one's.
        name: The cell; None for the base itself.
        seed: The seed.
        cfg: The cell's whole config.
        gpus: Processes of the training, each with a batch of its own.
        tta: Whether the test is the multi-scale one.
    """
    settings = {k: v for k, v in _flatten(cfg.to_dict()) if not _NEITHER.match(k)}
    test = {k: v for k, v in settings.items() if _TEST.match(k)}
    if not tta:
        test = {k: v for k, v in test.items() if not k.startswith('tta_')}
    training = settings
    if not _BY_VALIDATION.search(json.dumps(settings, default=repr)):
        training = {k: v for k, v in settings.items() if not k.startswith('val_')}
        training = {k: v for k, v in training.items() if not _TEST.match(k)}
    digest = _digest(dict(training, gpus=gpus))
    there = sorted(work_dir.glob(f'*-{digest}'))
    name = names.setdefault(
        digest, there[0].name.rpartition('-')[0] if there else name or BASE
    )
    folder = work_dir / f'{name}-{digest}' / f'seed_{seed}'
    tested = folder / f'{"tta" if tta else "test"}-{_digest(test)}'
    own = {
        'randomness.seed': seed,
        'test_evaluator.outfile_prefix': str(tested / 'detections'),
    }
    return Run(name, seed, _merge(cfg, own), folder, tested)


def as_python(cfg: Config) -> str:
    """Write a config as Python, tuples kept; ``pretty_text`` takes seconds."""
    items = cfg.to_dict().items()
    return ''.join(f'{k} = {pformat(v, sort_dicts=False)}\n' for k, v in items)


def _digest(settings: Mapping[str, Any]) -> str:
    text = json.dumps(settings, sort_keys=True, default=repr)
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def _rebase(path: Path, base: Path, base_name: str) -> Config:
    """Do to a base what an ablation does to its own."""
    line = f'_base_ = {str(base)!r}'
    text, count = re.subn(
        r'(?m)^_base_ = .*$', lambda _: line, path.read_text(encoding='utf-8')
    )
    if count != 1:
        raise ValueError(f'{path}: needs one line "_base_ = ...", it has {count}')
    try:
        return Config.fromstring(text, '.py')
    except (AttributeError, KeyError, TypeError) as error:  # a dict put on a list
        raise ValueError(f'{path.stem} does not fit {base_name}: {error}') from error


def _merge(cfg: Config, options: Mapping[str, Any]) -> Config:
    merged = Config(cfg.to_dict())
    merged.merge_from_dict(dict(options))
    return merged


def _flatten(value: Any, prefix: str = '') -> Iterator[tuple[str, Any]]:
    if not isinstance(value, dict) or not value:
        yield prefix, value
        return
    for key, item in value.items():
        yield from _flatten(item, f'{prefix}.{key}' if prefix else str(key))


def _check_srn(name: str, cfg: Config) -> None:
    """Check that cells can be put on a config and that its runs can be measured."""
    evaluator = cfg.get('test_evaluator')
    if not isinstance(evaluator, dict) or evaluator.type != 'WIDERFaceMetric':
        raise ValueError(f'{name}: test_evaluator must be one WIDERFaceMetric')
    neck = cfg.model.get('neck')
    neck = neck[0] if isinstance(neck, list) else neck
    if not isinstance(neck, dict) or neck.type != 'SRNFPN':
        raise ValueError(f'{name}: the neck must be an SRNFPN, or begin with one')
    strides = cfg.model.bbox_head.get('anchor_generator', {}).get('strides', ())
    if len(strides) != NUM_LEVELS:
        raise ValueError(
            f'{name}: bbox_head must have anchors of {NUM_LEVELS} strides, P2 to P7, '
            f'not {len(strides)}'
        )
