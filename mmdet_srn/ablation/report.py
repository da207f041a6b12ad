"""A table of ours beside the paper's: Markdown, CSV and a picture."""

import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib
import pandas as pd
from scipy.stats import t

from ..evaluation.protocols import describe_protocol
from .cells import Run
from .tables import Table

matplotlib.use('Agg')
from matplotlib import pyplot as plt  # noqa: E402

#: Name of a metric -> heading. AP are in percent, as the paper's.
_APS = {
    'easy': 'easy',
    'medium': 'medium',
    'hard': 'hard',
    'AP': 'AP, all faces',
    'AP_lt16': 'under 16 px',
    'AP_16to32': '16 to 32',
    'AP_32to96': '32 to 96',
    'AP_ge96': '96 and more',
}
MEAN_AP = 'AP, IoU .5 to .8'


def measure(result: Mapping[str, Any], table: Table) -> dict[str, float | None]:
    """Name what a table shows of one finished run: heading -> number."""
    by_iou = {
        f'IoU {iou[1:]}': 100 * ap for iou, ap in result.get('ap_by_iou', {}).items()
    }
    found: dict[str, float | None] = {}
    if table.figures == 'anchor_ratio':
        counts = result['anchor_ratio']
        for name, title in (('stc', 'STC'), ('str', 'STR')):
            if (part := counts.get(name)) is None:
                continue
            pairs = zip(part['positive'], part['negative'], strict=True)
            for moment, (positive, negative) in zip(
                ('before', 'after'), pairs, strict=True
            ):
                ratio = negative / positive if positive else None
                found[f'{title} 1 to .. {moment}'] = ratio
            found[f'{title} gain'] = part['gain']
            if name == 'stc' and part['positives_kept'] is not None:
                found['STC positives kept'] = 100 * part['positives_kept']
        return found
    if table.figures == 'false_positives':
        for recall, number in result['false_positives'].items():
            found[f'{100 * float(recall):g} %'] = number
    elif table.figures == 'ap_by_iou':
        found.update(by_iou)
    else:
        metrics = result['metrics']
        found = {n: 100 * metrics[key] for key, n in _APS.items() if key in metrics}
        if result['survivors'] is not None:
            found['survivors'] = 100 * result['survivors']
    if by_iou and len(table.cells) > 1:
        found[MEAN_AP] = statistics.mean(by_iou.values())
    return found


def collect(
    name: str, table: Table, results: Mapping[tuple[int, int], Mapping[str, Any]]
) -> pd.DataFrame:
    """Put all figures of a table one below the other.

    Args:
        name: Name of the table.
        table: The table.
        results: Row and seed -> what the finished run has left.

    Returns:
        Columns table, cell, config, source ('paper' or 'ours'), seed, figure, value.
    """
    rows = []
    for row, cell in enumerate(table.cells):
        place = (name, cell.label, cell.config or 'base')
        for title, value in zip(table.columns, cell.paper, strict=False):
            rows.append((*place, 'paper', '', title, value))
        for seed in sorted(seed for own, seed in results if own == row):
            for title, value in measure(results[row, seed], table).items():
                rows.append((*place, 'ours', str(seed), title, value))
    columns = ['table', 'cell', 'config', 'source', 'seed', 'figure', 'value']
    return pd.DataFrame(rows, columns=columns).astype({'value': float})


def to_markdown(table: Table, frame: pd.DataFrame, about: Sequence[str]) -> str:
    """Write the figures of a table as text, with lines that say what they are."""
    ours = frame[frame.source == 'ours']
    titles = list(dict.fromkeys(ours.figure))
    changed = [x for x in titles if x.startswith(('IoU', MEAN_AP)) or x == _main(ours)]
    columns: dict[str, list[str]] = {'': [cell.label for cell in table.cells]}
    for number, title in enumerate(table.columns):
        columns[f'paper: {title}'] = [f'{c.paper[number]:,}' for c in table.cells]
    if 'hard' in table.columns:
        at = table.columns.index('hard')
        changes = [c.paper[at] - table.cells[0].paper[at] for c in table.cells]
        columns['paper: change, hard'] = ['', *(f'{x:+.1f}' for x in changes[1:])]
    for title in titles:
        values = _values(table, ours, title)
        columns[f'ours: {title}'] = [spread(v, digits(title)) for v in values]
    for title in changed if len(table.cells) > 1 else ():
        first, *others = _values(table, ours, title)
        changes = [spread((v - first).dropna(), 1, change=True) for v in others]
        columns[f'ours: change, {title}'] = ['', *changes]
    lines = '\n'.join(f'- {line}' for line in about)
    text = pd.DataFrame(columns).to_markdown(index=False, disable_numparse=True)
    return f'### {table.title}\n\n{lines}\n\n{text}\n'


def _main(ours: pd.DataFrame) -> str | None:
    """Return the AP by which cells are compared, the first that there is."""
    return next((x for x in ('hard', _APS['AP']) if x in set(ours.figure)), None)


def _values(table: Table, ours: pd.DataFrame, title: str) -> list[pd.Series]:
    """Collect the values of one figure by seed, for each cell."""
    own = ours[ours.figure == title]
    return [own[own.cell == c.label].set_index('seed').value for c in table.cells]


def digits(title: str) -> int:
    """Digits behind the point."""
    if title.endswith('gain'):
        return 2
    return 0 if title.endswith('%') or ' 1 to ' in title else 1


def spread(values: Sequence[float], digits: int, change: bool = False) -> str:
    """Write mean and standard deviation over seeds.

    Args:
        values: One a seed; NaN is a recall that was not reached.
        digits: Digits behind the point.
        change: Whether to show the sign and the mean's 95 % interval (t) as well.
    """
    numbers = pd.Series(values, dtype=float)
    count, missing = len(numbers), int(numbers.isna().sum())
    if missing:
        return 'none' if missing == count else f'none in {missing} of {count}'
    if not count:
        return '-'
    sign = '+' if change else ''
    mean, deviation = numbers.mean(), numbers.std()
    text = f'{mean:{sign},.{digits}f}'
    if count > 1:
        text += f' ± {deviation:,.{digits}f}'
        if change:
            half = t.ppf(0.975, count - 1) * deviation / count**0.5
            text += f' [{mean - half:+.{digits}f}, {mean + half:+.{digits}f}]'
    return text


def describe(
    table: Table,
    runs: Mapping[tuple[int, int], Run],
    results: Mapping[tuple[int, int], Mapping[str, Any]],
    frame: pd.DataFrame,
    head: str,
) -> list[str]:
    """Say what the figures were made with and what a reader must know.

    Args:
        table: The table.
        runs: Row and seed -> run.
        results: Row and seed -> what the finished run has left.
        frame: The figures, from :func:`collect`.
        head: Base, seeds and options.
    """
    lines, kind, found = [head], table.figures, list(results.values())
    cfg = runs[0, next(seed for _, seed in runs)].cfg
    official = cfg.test_evaluator.get('gt_dir') is not None
    seeds = len({seed for _, seed in runs})
    if found:

        def each(name: str) -> str:
            return ' or '.join(f'{n:,}' for n in sorted({r[name] for r in found}))

        root = Path(str(cfg.test_dataloader.dataset.get('data_root') or '')).name
        protocols = sorted({result['protocol'] for result in found})
        times = [result['seconds'] for result in found if not result['resumed']]
        lines += [
            f'Test: {each("test_images")} images{f" of {root}" if root else ""}, '
            f'protocol {" and ".join(map(describe_protocol, protocols))}.',
            f'Budget of a run: {each("iterations")} iterations of {each("batch")} '
            f'images, epochs: {each("epochs")}'
            + (
                f', {statistics.median(times) / 60:.1f} min (median).' if times else '.'
            ),
            f'mmdet_srn {" and ".join(sorted({r["version"] for r in found}))}.',
        ]
    else:
        lines.append('None of the runs is finished yet.')
    if kind == 'anchor_ratio':
        lines.append(
            'Negatives for one positive, and by which factor that falls ("gain"; the '
            'paper\'s from its caption, "about"), on '
            f'{" or ".join(str(r["anchor_ratio"]["images"]) for r in found) or "no"} '
            "training images, by the second step's matching. After, STC: what the "
            'first step leaves; STR: its boxes.'
        )
    else:
        what = 'False positives' if kind == 'false_positives' else 'AP in percent'
        faces = 'hard faces by the official ground truth' if official else 'all faces'
        how = 'official' if official and kind == 'ap' else f'{faces}, not official'
        lines.append(f'{what}, {how}; at IoU .5 unless said.')
        if len(table.cells) > 1:
            lines.append(
                f'"{MEAN_AP}": mean of the AP at IoU .5, .6, .7 and .8, {faces}, not '
                'official.'
            )
    if not table.columns:
        lines.append('The paper prints no figure for this choice.')
    elif kind != 'anchor_ratio':
        lines.append(
            "Paper: WIDER FACE val, SRN's multi-scale test, 130 epochs of 12,880 images"
        )
        if not official:
            lines.append(
                "Ours are not WIDER FACE's figures: other data, faces and training. "
                'Only the direction of a change can be set beside the paper.'
            )
    if 'survivors' in set(frame.figure):
        lines.append(
            "Survivors: percent of the STC levels' anchors that the first step leaves, "
            'in the last training batch that was logged.'
        )
    lines.append(
        'One seed: how far a second would be off is not known.'
        if seeds == 1
        else f'Mean ± standard deviation of {seeds} seeds. Changes against the first '
        'row are taken seed by seed; in brackets the 95 % interval (t) of their mean.'
    )
    if frame.value.isna().any():
        lines.append('"none": the recall is not reached, or there is nothing to count.')
    folders: dict[Path, str] = {}
    for (row, _), run in runs.items():
        label = table.cells[row].label
        if (same := folders.setdefault(run.folder, label)) != label:
            lines.append(f'"{label}" is "{same}" with this base: one run, two rows.')
    missing = [place for place in runs if place not in results]
    if missing:
        names = [f'{table.cells[row].label} seed {seed}' for row, seed in missing]
        lines.append(f'Not there: {", ".join(names)}.')
    return list(dict.fromkeys(lines))


def plot(table: Table, frame: pd.DataFrame, path: Path) -> None:
    """Draw means and deviations, the paper's and ours side by side."""
    across = table.figures in ('false_positives', 'ap_by_iou')  # a line for each cell
    by = ['figure', 'cell'] if across else ['cell', 'figure']
    frame = frame[~frame.figure.isin(['survivors', *([MEAN_AP] if across else [])])]
    if table.figures == 'anchor_ratio':
        frame = frame[frame.figure.str.endswith('gain')]
    panels = list(frame.groupby('source', sort=False))
    figure, axes = plt.subplots(
        1, len(panels), figsize=(5.5 * len(panels), 4), squeeze=False, tight_layout=True
    )
    for (source, own), axis in zip(panels, axes[0], strict=True):
        groups = own.groupby(by, sort=False).value
        order = own[by[0]].unique()
        mean, error = (x.unstack().loc[order] for x in (groups.mean(), groups.std()))
        line = '-' if across else ''
        mean.plot(ax=axis, yerr=error, marker='.', ls=line, title=source, rot=20)
        if table.figures == 'false_positives':
            axis.set_yscale('symlog', linthresh=1)
    figure.suptitle(table.title)
    figure.savefig(path, dpi=120)
    plt.close(figure)
