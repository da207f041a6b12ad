"""A table of ours beside the paper's: Markdown and CSV."""

import csv
import io
import os
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..evaluation.protocols import describe_protocol
from .measures import MAIN, Measures, Style, measures
from .plan import Plan, Run
from .result import read_anchor_ratio, read_result
from .run_cells import duration
from .tables import Cell, Table

_PAPER = "SRN's multi-scale test, 130 epochs of 12,880 images"
_WHAT = {
    'ap': 'AP in percent',
    'false_positives': 'numbers of false positives',
    'ap_by_iou': 'AP in percent',
    'anchor_ratio': 'negatives for one positive, and by which factor that falls',
}


@dataclass(frozen=True)
class Row:
    """One cell, all seeds.

    Attributes:
        cell: The cell.
        runs: Its runs.
        by_seed: Seed -> numbers, of the finished runs.
    """

    cell: Cell
    runs: list[Run]
    by_seed: dict[int, Measures]


@dataclass(frozen=True)
class Report:
    """One table, filled in.

    Attributes:
        name: The table's.
        table: The table.
        rows: Its cells.
        seeds: Those asked for.
        styles: Our columns.
        budget: What the figures were made with, line by line.
        notes: What the reader must know of the figures, line by line.
    """

    name: str
    table: Table
    rows: list[Row]
    seeds: list[int]
    styles: list[Style]
    budget: list[str]
    notes: list[str]

    @property
    def main(self) -> Style | None:
        """The column by which cells are compared with the first one."""
        if self.table.figures != 'ap':
            return None
        return next((style for style in self.styles if style.title in MAIN), None)


def make_report(
    name: str,
    table: Table,
    plan: Plan,
    seeds: Sequence[int],
    base: Path,
    options: Sequence[str],
) -> Report:
    """Read what a table's runs have left.

    Args:
        name: The table's name.
        table: The table.
        plan: The plan that its runs are of.
        seeds: The seeds.
        base: The base config.
        options: As ``--cfg-options`` takes them.

    Returns:
        The report; runs that are not finished are said to be missing.
    """
    rows = []
    for number, cell in enumerate(table.cells):
        runs = [plan.run_of[name, number, seed] for seed in seeds]
        found = {run.seed: measures(run, table.figures) for run in runs}
        rows.append(
            Row(cell, runs, {seed: m for seed, m in found.items() if m is not None})
        )
    styles = list(
        dict.fromkeys(
            style
            for row in rows
            for numbers in row.by_seed.values()
            for style in numbers
        )
    )
    styles.sort(key=lambda style: style.title == 'survivors')
    report = Report(
        name, table, rows, list(seeds), styles, _budget(rows, seeds, base, options), []
    )
    report.notes.extend(_notes(report, plan))
    return report


def to_markdown(report: Report) -> str:
    """The report as text."""
    table = report.table
    head = ['', *(f'paper: {title}' for title in table.columns)]
    main = report.main
    paper_main = _paper_main(report)
    if paper_main is not None and len(table.cells) > 1:
        head.append(f'paper: change, {table.columns[paper_main]}')
    head += [f'ours: {style.title}' for style in report.styles]
    if main is not None and len(table.cells) > 1:
        head.append(f'ours: change, {main.title}')
    lines = [head, ['---'] * len(head)]
    first = report.rows[0]
    for row in report.rows:
        cells = [row.cell.label]
        for column in range(len(table.columns)):
            cells.append(_paper_number(row.cell, column))
        if paper_main is not None and len(table.cells) > 1:
            change = row.cell.paper[paper_main] - first.cell.paper[paper_main]
            cells.append('' if row is first else f'{change:+.1f}')
        for style in report.styles:
            numbers = [m.get(style, _ABSENT) for m in row.by_seed.values()]
            cells.append(spread([n for n in numbers if n is not _ABSENT], style.digits))
        if main is not None and len(table.cells) > 1:
            cells.append('' if row is first else _change(row, first, main))
        lines.append(cells)
    text = '\n'.join(f'| {" | ".join(line)} |' for line in lines)
    about = '\n'.join(f'- {line}' for line in [*report.budget, *report.notes])
    return f'### {table.title}\n\n{about}\n\n{text}\n'


def to_csv(report: Report) -> str:
    """All figures, one a line: of the paper, and of each seed of ours."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator='\n')
    writer.writerow(['table', 'cell', 'config', 'source', 'seed', 'figure', 'value'])
    for row in report.rows:
        place = [report.name, row.cell.label, row.cell.config or 'base']
        for title, value in zip(report.table.columns, row.cell.paper, strict=False):
            writer.writerow([*place, 'paper', '', title, value])
        for seed, numbers in row.by_seed.items():
            for style, value in numbers.items():
                shown = '' if value is None else f'{value:.6g}'
                writer.writerow([*place, 'ours', seed, style.title, shown])
    return out.getvalue()


def spread(numbers: Sequence[float | None], digits: int) -> str:
    """Mean and standard deviation over seeds.

    Args:
        numbers: One a seed; None is a recall that was not reached.
        digits: Behind the point.

    Returns:
        'mean ± deviation'; without a deviation for one seed (it has none), a dash for
        no seed.
    """
    if not numbers:
        return '-'
    there = [number for number in numbers if number is not None]
    if len(there) < len(numbers):
        missing = len(numbers) - len(there)
        return 'none' if not there else f'none in {missing} of {len(numbers)}'
    text = f'{statistics.mean(there):,.{digits}f}'
    if len(there) > 1:
        text += f' ± {statistics.stdev(there):,.{digits}f}'
    return text


_ABSENT = object()


def _change(row: Row, first: Row, style: Style) -> str:
    """How far a cell is ahead of the first, seed by seed."""
    seeds = [seed for seed in row.by_seed if seed in first.by_seed]
    pairs = [
        (row.by_seed[seed].get(style), first.by_seed[seed].get(style)) for seed in seeds
    ]
    changes = [own - other for own, other in pairs if None not in (own, other)]
    text = spread(changes, style.digits)
    return f'+{text}' if changes and statistics.mean(changes) > 0 else text


def _paper_number(cell: Cell, column: int) -> str:
    return f'{cell.paper[column]:,}' if cell.paper else '-'


def _paper_main(report: Report) -> int | None:
    """The paper's column that changes are shown of: hard AP."""
    table = report.table
    if table.figures != 'ap' or not all(cell.paper for cell in table.cells):
        return None
    return table.columns.index('hard')


def _budget(
    rows: Sequence[Row], seeds: Sequence[int], base: Path, options: Sequence[str]
) -> list[str]:
    found = [read_result(run) for row in rows for run in row.runs]
    results = [result for result in found if result is not None]
    cfg = rows[0].runs[0].cfg
    changed = [option for option in options if 'data_root' not in option.split('=')[0]]
    lines = [f'Ours: `{_short(base)}`, seeds {", ".join(map(str, seeds))}']
    if changed:
        lines[0] += f', with `{" ".join(changed)}`'
    if not results:
        return [*lines, 'None of the runs is finished yet.']
    protocols = sorted({result['protocol'] for result in results})
    root = Path(str(cfg.test_dataloader.dataset.get('data_root') or '')).name
    lines.append(
        f'Test: {_all([result["test_images"] for result in results])} images'
        f'{f" of {root}" if root else ""}, protocol '
        f'{" and ".join(map(describe_protocol, protocols))}'
    )
    images = [result['iterations'] * result['batch'] for result in results]
    lines.append(
        f'Budget of a run: {_all([r["iterations"] for r in results])} iterations of '
        f'{_all([r["batch"] for r in results])} images '
        f'({_all(images)} images, epochs: {_all([r["epochs"] for r in results])})'
        + _time(results)
    )
    lines.append(f'mmdet_srn {" and ".join(sorted({r["version"] for r in results}))}')
    return lines


def _time(results: Sequence[Mapping[str, Any]]) -> str:
    whole = [result['seconds'] for result in results if not result['resumed']]
    return f', {duration(statistics.median(whole))} by the median' if whole else ''


def _all(numbers: Sequence[float]) -> str:
    """Numbers that should be one; all of them if they are not."""
    return ' or '.join(f'{number:,}' for number in sorted(set(numbers)))


def _short(path: Path) -> str:
    """A path without what is only of this machine."""
    relative = os.path.relpath(path.resolve())
    return path.name if relative.startswith('..') else Path(relative).as_posix()


def _notes(report: Report, plan: Plan) -> list[str]:
    figures, table = report.table.figures, report.table
    notes = [_what_is_shown(report)]
    if table.columns and figures in ('ap', 'ap_by_iou', 'false_positives'):
        unit = '' if figures == 'false_positives' else 'in percent, '
        notes.append(f'Paper: WIDER FACE val, {unit}{_PAPER}.')
        if report.styles and not _official(report):
            notes.append(
                "Ours are not WIDER FACE's figures: other data, faces and training. "
                'Only the direction of a change can be set beside the paper.'
            )
    if not table.columns:
        notes.append('The paper prints no figure for this choice.')
    if figures == 'anchor_ratio':
        notes += _ratio_notes(report)
    if any(style.title == 'survivors' for style in report.styles):
        notes.append(
            "Survivors: percent of the STC levels' anchors that the first step "
            'leaves, in the last training batch that was logged.'
        )
    if len(report.seeds) == 1:
        notes.append('One seed: how far a second would be off is not known.')
    else:
        notes.append(
            f'Mean ± standard deviation of {len(report.seeds)} seeds; changes are '
            'taken seed by seed.'
        )
    notes += [
        f'{pair} with this base: one run, two rows.' for pair in plan.same[report.name]
    ]
    seen = [n for row in report.rows for m in row.by_seed.values() for n in m.values()]
    if None in seen:
        notes.append('"none": the recall is not reached, or there is nothing to count.')
    missing = [
        f'{row.cell.label} seed {run.seed}'
        for row in report.rows
        for run in row.runs
        if run.seed not in row.by_seed
    ]
    if missing:
        notes.append(f'Not there: {", ".join(missing)}.')
    return notes


def _what_is_shown(report: Report) -> str:
    what = _WHAT[report.table.figures]
    if report.table.figures != 'anchor_ratio' and report.styles:
        what += f', {_kind(report)}'
    return f'{what[0].upper()}{what[1:]}.'


def _kind(report: Report) -> str:
    if not _official(report):
        return 'at IoU .5 unless said, not official'
    if report.table.figures == 'ap':
        return 'official'
    # What the official tool does not ask, see wider_face_analysis.
    return 'of the hard faces by the official ground truth, not official'


def _official(report: Report) -> bool:
    """Whether the ground truth is."""
    return report.rows[0].runs[0].cfg.test_evaluator.get('gt_dir') is not None


def _ratio_notes(report: Report) -> list[str]:
    found = [read_anchor_ratio(run) for row in report.rows for run in row.runs]
    images = [counts['images'] for counts in found if counts is not None]
    if not images:
        return []
    return [
        f"Counted on {_all(images)} training images by the second step's matching. "
        'STC: levels classified twice, after = what the first step leaves; STR: '
        'levels regressed twice, after = the boxes of the first step.',
        'Paper: the gains that the caption of its Figure 1 gives, "about".',
    ]
