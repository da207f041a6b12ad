"""Cells of the tables on a base config, and the folder of each run."""

import hashlib
import itertools
import json
import re
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from pprint import pformat
from typing import Any, NamedTuple

from mmengine.config import Config

from .tables import Table

#: Settings that change neither the weights nor the figures.
_NEITHER = re.compile(
    r'(work_dir|launcher|resume|log_level|log_processor|vis_backends|visualizer'
    r'|default_hooks\.(logger|visualization|fold_norms)|\w+_dataloader\.'
    r'(num_workers|persistent_workers|pin_memory|prefetch_factor))(\.|$)'
)
_TEST = re.compile(r'test_|tta_|model\.test_cfg')
_BY_VALIDATION = re.compile('EarlyStopping|ReduceOnPlateau')


class Run(NamedTuple):
    """One cell with one seed."""

    name: str
    seed: int
    cfg: Config
    folder: Path  # of the training; named by the cell, its settings and the seed
    tested: Path  # of the test, in it; named by the settings of the test

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
    tables: Iterable[Table], base: Path, configs: Path, options: Mapping[str, Any]
) -> dict[str | None, Config]:
    """Put the cells of tables on a base, the config of an SRN.

    Args:
        tables: The tables.
        base: The base.
        configs: The folder below which the cells' configs are.
        options: Settings of all cells, by dotted name.

    Returns:
        Name of each cell -> its whole config; None: the base itself.

    Raises:
        FileNotFoundError: If there is no such base.
        ValueError: If the cells do not fit it, or an option sets what a cell sets.
    """
    if not base.is_file():
        raise FileNotFoundError(f'{base}: no such config (--base)')
    whole = Config.fromfile(base, import_custom_modules=False)
    cells: dict[str | None, Config] = {None: _merge(whole, options)}
    _check_srn(base.name, cells[None])
    own, missing = dict(_flatten(whole.to_dict())), object()
    with tempfile.TemporaryDirectory() as folder:
        # Once: mmengine takes long to find what 'mmdet::' stands for.
        flat = Path(folder) / 'whole.py'
        flat.write_text(as_python(whole), 'utf-8')
        names = dict.fromkeys(c.config for table in tables for c in table.cells)
        for name in filter(None, names):
            cfg = _rebase(next(configs.rglob(f'{name}.py')), flat, base.name)
            new = dict(_flatten(cfg.to_dict()))
            for key, option in itertools.product(sorted(own.keys() | new), options):
                one, other = f'{key}.', f'{option}.'
                same = own.get(key, missing) == new.get(key, missing)
                if not same and (one.startswith(other) or other.startswith(one)):
                    raise ValueError(f'--cfg-options {option}: cell {name} sets {key}')
            cells[name] = _merge(cfg, options)
            _check_srn(name, cells[name])
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
    training = {k: v for k, v in _flatten(cfg.to_dict()) if not _NEITHER.match(k)}
    test = {k: v for k, v in training.items() if _TEST.match(k)}
    if not tta:
        test = {k: v for k, v in test.items() if not k.startswith('tta_')}
    if not _BY_VALIDATION.search(json.dumps(training, default=repr)):
        rest = {k: v for k, v in training.items() if not k.startswith('val_')}
        training = {k: v for k, v in rest.items() if not _TEST.match(k)}
    digest = _digest(dict(training, gpus=gpus))
    there = [path.name.rpartition('-')[0] for path in work_dir.glob(f'*-{digest}')]
    name = names.setdefault(digest, min(there, default=name or 'base'))
    folder = work_dir / f'{name}-{digest}' / f'seed_{seed}'
    tested = folder / f'{"tta" if tta else "test"}-{_digest(test)}'
    detections = {'test_evaluator.outfile_prefix': str(tested / 'detections')}
    cfg = _merge(cfg, {'randomness.seed': seed, **detections})
    return Run(name, seed, cfg, folder, tested)


def as_python(cfg: Config) -> str:
    """Write a config as Python, tuples kept; ``pretty_text`` takes seconds."""
    items = cfg.to_dict().items()
    return ''.join(f'{k} = {pformat(v, sort_dicts=False)}\n' for k, v in items)


def _digest(settings: Mapping[str, Any]) -> str:
    text = json.dumps(settings, sort_keys=True, default=repr)
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def _rebase(path: Path, base: Path, base_name: str) -> Config:
    """Do to a base what an ablation does to its own."""
    line, text = f'_base_ = {str(base)!r}', path.read_text(encoding='utf-8')
    text, count = re.subn(r'(?m)^_base_ = .*$', lambda _: line, text)
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
    evaluator, neck = cfg.get('test_evaluator'), cfg.model.get('neck')
    if not isinstance(evaluator, dict) or evaluator.type != 'WIDERFaceMetric':
        raise ValueError(f'{name}: test_evaluator must be one WIDERFaceMetric')
    neck = neck[0] if isinstance(neck, list) else neck
    if not isinstance(neck, dict) or neck.type != 'SRNFPN':
        raise ValueError(f'{name}: the neck must be an SRNFPN, or begin with one')
    count = len(cfg.model.bbox_head.get('anchor_generator', {}).get('strides', ()))
    if count != 6:
        raise ValueError(
            f'{name}: bbox_head must have anchors of 6 strides, P2 to P7, not {count}'
        )
