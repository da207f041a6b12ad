"""Which runs the tables need, each once."""

import argparse
import json
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from mmengine.config import Config, DictAction

from .checks import check_options, check_srn, check_test
from .identity import Identity, identify, settings
from .rebase import rebase
from .tables import Table

#: Name of the cell that is the base config itself.
BASE = 'base'


@dataclass(frozen=True)
class Run:
    """One cell with one seed.

    Attributes:
        name: The cell's.
        seed: The seed.
        text: Of the cell's config.
        cfg: The whole config, options and seed merged.
        settings: All that the run is made of.
        folder: Where it goes, or where the same run of another cell went.
        labels: Which places in which tables it fills, such as '1: + STC'.
    """

    name: str
    seed: int
    text: str
    cfg: Config
    settings: dict[str, Any]
    folder: Path
    labels: list[str]

    @property
    def identity(self) -> Identity:
        """What it is compared by with others."""
        return identify(self.settings)

    @property
    def config(self) -> Path:
        """The cell's config: base and ablation, without seed and options."""
        return self.folder.parent / f'{self.name}.py'


@dataclass(frozen=True)
class Plan:
    """All runs of some tables.

    Attributes:
        runs: Each needed run once, in the order of the tables.
        run_of: (table, row, seed) -> its run.
        same: Rows of one table that the base makes the same, in words.
    """

    runs: list[Run]
    run_of: dict[tuple[str, int, int], Run]
    same: dict[str, list[str]]


def make_plan(
    tables: Mapping[str, Table],
    base: Path,
    ablations: Path,
    seeds: Sequence[int],
    options: Sequence[str],
    work_dir: Path,
    processes: int = 1,
    tta: bool = False,
) -> Plan:
    """Resolve every cell of some tables; cells that are the same are one run.

    Args:
        tables: Name -> table.
        base: The base config.
        ablations: Folder of the ablations' configs.
        seeds: Seeds.
        options: As ``--cfg-options`` takes them.
        work_dir: Folder of the cells' folders.
        processes: Processes of a run, each with a batch of its own.
        tta: Whether the test is the multi-scale one, instead of the validation.

    Returns:
        The plan.

    Raises:
        FileNotFoundError: If the base or an ablation is not there.
        ValueError: If the base is no SRN with P2 to P7, or options set the seed or
            what the cells of the tables set, or leave validation and test unlike each
            other.
    """
    if not base.is_file():
        raise FileNotFoundError(f'{base}: no such config (--base)')
    parsed = parse_options(options)
    if 'randomness.seed' in parsed:
        raise ValueError('randomness.seed is set by --seeds, not by --cfg-options')
    whole = _load(base)
    # Before cells are put on it, which may fail where it is no SRN.
    check_srn(base.name, _merge(whole, parsed))
    names = dict.fromkeys(
        cell.config for table in tables.values() for cell in table.cells
    )
    ablated = _resolve([name for name in names if name], base, whole, ablations)
    configs: dict[str | None, Config] = {None: whole, **ablated}
    check_options(parsed, tables, configs)
    resolved = {name: _merge(configs[name], parsed) for name in names}
    for name, cfg in resolved.items():
        check_srn(name or BASE, cfg)
        check_test(name or BASE, cfg, tta)
    drafts: dict[Identity, _Draft] = {}
    identity_of: dict[tuple[str, int, int], Identity] = {}
    for table_name, table in tables.items():
        for row, cell in enumerate(table.cells):
            for seed in seeds:
                cfg = _merge(resolved[cell.config], {'randomness.seed': seed})
                own = settings(cfg.to_dict(), processes=processes, tta=tta)
                key = identify(own)
                draft = drafts.setdefault(key, _Draft(cell.config, seed, cfg, own, []))
                identity_of[table_name, row, seed] = key
                label = f'{table_name}: {cell.label}'
                if label not in draft.labels:
                    draft.labels.append(label)
    folders = _folders(
        {
            key: work_dir / (draft.config or BASE) / f'seed_{draft.seed}'
            for key, draft in drafts.items()
        },
        _there(work_dir),
    )
    runs = {}
    for key, (config, seed, cfg, own, labels) in drafts.items():
        folder = folders[key]
        text = rebase(_path(ablations, config), base, folder.parent)
        runs[key] = Run(config or BASE, seed, text, cfg, own, folder, labels)
    same = {name: _same_rows(table, resolved) for name, table in tables.items()}
    return Plan(
        list(runs.values()),
        {place: runs[key] for place, key in identity_of.items()},
        same,
    )


class _Draft(NamedTuple):
    """A run that has no folder yet."""

    config: str | None
    seed: int
    cfg: Config
    settings: dict[str, Any]
    labels: list[str]


def parse_options(options: Sequence[str]) -> dict[str, Any]:
    """``--cfg-options`` as mmengine reads them: dotted name -> value."""
    if not options:
        return {}
    parser = argparse.ArgumentParser()
    parser.add_argument('--cfg-options', nargs='+', action=DictAction)
    return parser.parse_args(['--cfg-options', *options]).cfg_options


def _there(work_dir: Path) -> dict[Path, Identity]:
    """Each folder with a run -> what has been run there."""
    return {
        path.parent: identify(json.loads(path.read_text(encoding='utf-8')))
        for path in sorted(work_dir.glob('*/seed_*/settings.json'))
    }


def _folders(
    own: Mapping[Identity, Path], there: Mapping[Path, Identity]
) -> dict[Identity, Path]:
    """Where each run is, or goes.

    The same run, or the same training, may be there under another cell's name. A
    folder that is another planned run's own is not taken even then: that run, once
    started there, would leave its figures to both.

    Args:
        own: Each run -> the folder by its cell's name.
        there: What has been run.

    Returns:
        Each run -> a folder of no other run.
    """
    folders: dict[Identity, Path] = {}
    found = set(there.values())
    # First those that need no test, should two want the same training.
    for run in sorted(own, key=lambda run: run not in found):
        taken = {*own.values(), *folders.values()} - {own[run]}
        fitting = [
            folder
            for folder, other in there.items()
            if other.training == run.training and folder not in taken
        ]
        folders[run] = max(
            fitting,
            key=lambda folder, run=run: (there[folder] == run, folder == own[run]),
            default=own[run],
        )
    return folders


def _path(ablations: Path, name: str | None) -> Path | None:
    return None if name is None else ablations / f'{name}.py'


def _resolve(
    names: Sequence[str], base: Path, whole: Config, ablations: Path
) -> dict[str, Config]:
    """The whole config of each ablation on a base."""
    resolved = {}
    with tempfile.TemporaryDirectory() as folder:
        # Once: what 'mmdet::' stands for takes mmengine long to find.
        file = Path(folder) / 'whole.json'
        file.write_text(json.dumps(whole.to_dict()), encoding='utf-8')
        for name in names:
            path = ablations / f'{name}.py'
            if not path.is_file():
                raise FileNotFoundError(f'{path}: no such ablation')
            cell = Path(folder) / path.name
            cell.write_text(rebase(path, file, Path(folder)), encoding='utf-8')
            try:
                resolved[name] = _load(cell)
            # Such as a dict put on what the base has as a list.
            except (AttributeError, KeyError, TypeError) as error:
                raise ValueError(f'{name} does not fit {base.name}: {error}') from error
    return resolved


def _merge(cfg: Config, options: Mapping[str, Any]) -> Config:
    """A copy with options."""
    merged = Config(cfg.to_dict())
    merged.merge_from_dict(dict(options))
    return merged


def _load(path: Path) -> Config:
    return Config.fromfile(path, import_custom_modules=False)


def _same_rows(table: Table, resolved: Mapping[str | None, Config]) -> list[str]:
    """Pairs of rows with the same config, as '"A" is "B"'."""
    wholes = [
        identify(settings(resolved[cell.config].to_dict())) for cell in table.cells
    ]
    pairs = []
    for row, whole in enumerate(wholes):
        if (first := wholes.index(whole)) != row:
            pairs.append(f'"{table.cells[row].label}" is "{table.cells[first].label}"')
    return pairs
