"""A table of ours beside the paper's: Markdown, CSV and a picture."""

import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.figure import Figure
from scipy.stats import t

from ..evaluation.protocols import describe_protocol
from .cells import Run
from .tables import Table

Results = Mapping[tuple[int, int], Mapping[str, Any]]
#: Name of a metric -> heading. AP are in percent, as the paper's.
_APS = {
    **{subset: subset for subset in ('easy', 'medium', 'hard')},
    'AP': 'AP, all faces',
    'AP_lt16': 'under 16 px',
    'AP_16to32': '16 to 32',
    'AP_32to96': '32 to 96',
    'AP_ge96': '96 and more',
}
MEAN_AP = 'AP, IoU .5 to .8'


def measure(result: Mapping[str, Any], table: Table) -> dict[str, float | None]:
    """Name what a table shows of one finished run: heading -> number."""
    found: dict[str, float | None] = {}
    if table.figures == 'anchor_ratio':
        for name in ('stc', 'str'):
            if (part := result['anchor_ratio'].get(name)) is None:
                continue
            title, signs = name.upper(), (part['positive'], part['negative'])
            for moment, *counts in zip(('before', 'after'), *signs, strict=True):
                positive, negative = counts
                ratio = negative / positive if positive else None
                found[f'{title} 1 to .. {moment}'] = ratio
            found[f'{title} gain'] = part['gain']
            if name == 'stc' and part['positives_kept'] is not None:
                found['STC positives kept'] = 100 * part['positives_kept']
        return found
    aps = result.get('ap_by_iou', {}).items()
    by_iou = {f'IoU {iou[1:]}': 100 * ap for iou, ap in aps}
    if table.figures == 'false_positives':
        counts = result['false_positives'].items()
        found = {f'{100 * float(recall):g} %': number for recall, number in counts}
    elif table.figures == 'ap_by_iou':
        found = dict(by_iou)
    else:
        metrics = result['metrics']
        found = {n: 100 * metrics[key] for key, n in _APS.items() if key in metrics}
        if result['survivors'] is not None:
            found['survivors'] = 100 * result['survivors']
    if by_iou and len(table.cells) > 1:
        found[MEAN_AP] = statistics.mean(by_iou.values())
    return found


def collect(name: str, table: Table, results: Results) -> pd.DataFrame:
    """Put all figures of a table, by row and seed, one below the other.

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
    titles = ours.figure.unique()
    # Cells are compared by the first AP that there is.
    main = next((x for x in ('hard', _APS['AP']) if x in titles), None)
    columns: dict[str, list[str]] = {'': [cell.label for cell in table.cells]}
    for number, title in enumerate(table.columns):
        columns[f'paper: {title}'] = [f'{c.paper[number]:,}' for c in table.cells]
    if 'hard' in table.columns:  # the last one
        changes = [c.paper[-1] - table.cells[0].paper[-1] for c in table.cells]
        columns['paper: change, hard'] = ['', *(f'{x:+.1f}' for x in changes[1:])]
    changed = {}
    for title in titles:
        own = ours[ours.figure == title].set_index('seed')
        values = [own[own.cell == cell.label].value for cell in table.cells]
        whole = title.endswith('%') or ' 1 to ' in title
        digits = 2 if title.endswith('gain') else 0 if whole else 1
        columns[f'ours: {title}'] = [spread(v, digits) for v in values]
        if len(values) > 1 and (title.startswith(('IoU', MEAN_AP)) or title == main):
            changes = [(v - values[0]).dropna() for v in values[1:]]
            texts = [spread(v, 1, change=True) for v in changes]
            changed[f'ours: change, {title}'] = ['', *texts]
    lines = '\n'.join(f'- {line}' for line in about)
    text = pd.DataFrame({**columns, **changed}).to_markdown(
        index=False, disable_numparse=True
    )
    return f'### {table.title}\n\n{lines}\n\n{text}\n'


def spread(values: Sequence[float], digits: int, change: bool = False) -> str:
    """Write mean and standard deviation over seeds; NaN is a recall not reached.

    A ``change`` has a sign and the mean's 95 % interval (t) as well.
    """
    numbers = pd.Series(values, dtype=float)
    count, missing = len(numbers), int(numbers.isna().sum())
    if missing:
        return 'none' if missing == count else f'none in {missing} of {count}'
    if not count:
        return '-'
    mean, deviation = numbers.mean(), numbers.std()
    text = f'{mean:{"+" if change else ""},.{digits}f}'
    if count > 1:
        text += f' ± {deviation:,.{digits}f}'
        if change:
            half = t.ppf(0.975, count - 1) * deviation / count**0.5
            text += f' [{mean - half:+.{digits}f}, {mean + half:+.{digits}f}]'
    return text


def describe(
    table: Table,
    runs: Mapping[tuple[int, int], Run],
    results: Results,
    frame: pd.DataFrame,
    head: str,
) -> list[str]:
    """Say what the figures were made with and what a reader must know.

    Runs and results are by row and seed; ``frame`` is from :func:`collect`; ``head``
    names base, seeds and options.
    """
    found = list(results.values())
    cfg = next(iter(runs.values())).cfg
    root = Path(str(cfg.test_dataloader.dataset.get('data_root') or '')).name
    official = cfg.test_evaluator.get('gt_dir') is not None
    faces = 'hard faces by the official ground truth' if official else 'all faces'
    faces += ', not official'
    what = 'False positives' if table.figures == 'false_positives' else 'AP in percent'
    how = 'official' if official and table.figures == 'ap' else faces
    ratios = table.figures == 'anchor_ratio'
    images = [str(r['anchor_ratio']['images']) for r in found if ratios] or ['no']
    protocols = [describe_protocol(x) for x in sorted({r['protocol'] for r in found})]
    versions = sorted({r['version'] for r in found})
    times = [r['seconds'] for r in found if not r['resumed']]
    took = f', {statistics.median(times) / 60:.1f} min (median)' if times else ''
    seeds = len({seed for _, seed in runs})

    def each(name: str) -> str:
        return ' or '.join(f'{n:,}' for n in sorted({r[name] for r in found}))

    # Training by iterations does not count them.
    epochs = f', epochs: {each("epochs")}' if any(r['epochs'] for r in found) else ''
    folders: dict[Path, str] = {}
    same, missing = [], []
    for (row, seed), run in runs.items():
        label = table.cells[row].label
        if (first := folders.setdefault(run.folder, label)) != label:
            same.append(f'"{label}" is "{first}" with this base: one run, two rows.')
        if (row, seed) not in results:
            missing.append(f'{label} seed {seed}')
    notes = [
        (True, head),
        (not found, 'None of the runs is finished yet.'),
        (
            found,
            f'Test: {each("test_images")} images{f" of {root}" if root else ""}, '
            f'protocol {" and ".join(protocols)}.',
        ),
        (
            found,
            f'Budget of a run: {each("iterations")} iterations of {each("batch")} '
            f'images{epochs}{took}.',
        ),
        (found, f'mmdet_srn {" and ".join(versions)}.'),
        (
            ratios,
            'Negatives for one positive, and by which factor that falls ("gain"; the '
            f'paper\'s from its caption, "about"), on {" or ".join(images)} training '
            "images, by the second step's matching. After, STC: what the first step "
            'leaves; STR: its boxes.',
        ),
        (not ratios, f'{what}, {how}; at IoU .5 unless said.'),
        (
            not ratios and len(table.cells) > 1,
            f'"{MEAN_AP}": mean of the AP at IoU .5, .6, .7 and .8, {faces}.',
        ),
        (not table.columns, 'The paper prints no figure for this choice.'),
        (
            table.columns and not ratios,
            "Paper: WIDER FACE val, SRN's multi-scale test, 130 epochs of 12,880 "
            'images',
        ),
        (
            table.columns and not ratios and not official,
            "Ours are not WIDER FACE's figures: other data, faces and training. Only "
            'the direction of a change can be set beside the paper.',
        ),
        (
            'survivors' in set(frame.figure),
            "Survivors: percent of the STC levels' anchors that the first step leaves, "
            'in the last training batch that was logged.',
        ),
        (seeds == 1, 'One seed: how far a second would be off is not known.'),
        (
            seeds > 1,
            f'Mean ± standard deviation of {seeds} seeds. Changes against the first '
            'row are taken seed by seed; in brackets the 95 % interval (t) of their '
            'mean.',
        ),
        (
            frame.value.isna().any(),
            '"none": the recall is not reached, or there is nothing to count.',
        ),
        *((True, text) for text in dict.fromkeys(same)),  # once, not once a seed
        (missing, f'Not there: {", ".join(missing)}.'),
    ]
    return [text for applies, text in notes if applies]


def plot(table: Table, frame: pd.DataFrame, path: Path) -> None:
    """Draw means and deviations, the paper's and ours side by side."""
    across = table.figures in ('false_positives', 'ap_by_iou')  # a line for each cell
    by = ['figure', 'cell'] if across else ['cell', 'figure']
    frame = frame[~frame.figure.isin(['survivors', *([MEAN_AP] if across else [])])]
    if table.figures == 'anchor_ratio':
        frame = frame[frame.figure.str.endswith('gain')]
    panels = list(frame.groupby('source', sort=False))
    figure = Figure((5.5 * len(panels), 4), tight_layout=True)
    axes = figure.subplots(1, len(panels), squeeze=False)
    for (source, own), axis in zip(panels, axes[0], strict=True):
        values, order = own.groupby(by, sort=False).value, own[by[0]].unique()
        mean, error = (x.unstack().loc[order] for x in (values.mean(), values.std()))
        line = '-' if across else ''
        mean.plot(ax=axis, yerr=error, marker='.', ls=line, title=source, rot=20)
        if table.figures == 'false_positives':
            axis.set_yscale('symlog', linthresh=1)
    figure.suptitle(table.title)
    figure.savefig(path, dpi=120)
