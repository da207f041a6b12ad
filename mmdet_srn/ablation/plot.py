"""A table as a picture: the paper's figures and ours, side by side."""

from pathlib import Path
from typing import Any

import matplotlib

from .report import Report

matplotlib.use('Agg')
from matplotlib import pyplot as plt  # noqa: E402


def plot(report: Report, path: Path) -> None:
    """Draw a report.

    AP over cells, or one line a cell over recalls and IoUs. The paper's panel and
    ours have axes of their own, as the figures are not of one kind. Small points
    are seeds, large ones and lines their means.

    Args:
        report: The report; it has figures of ours.
        path: The picture.
    """
    panels = ['paper', 'ours'] if report.table.columns else ['ours']
    figure, axes = plt.subplots(
        1, len(panels), figsize=(5.5 * len(panels), 4), layout='constrained'
    )
    draw = _points if report.table.figures in ('ap', 'anchor_ratio') else _lines
    for panel, axis in zip(panels, axes if len(panels) > 1 else [axes], strict=True):
        draw(report, panel, axis)
        axis.grid(axis='y', alpha=0.3)
    figure.suptitle(report.table.title)
    figure.savefig(path, dpi=120)
    plt.close(figure)


def _series(report: Report, panel: str) -> tuple[list[str], list[list[list[float]]]]:
    """Names of the figures; for each cell and figure the values, one a seed."""
    if panel == 'paper':
        rows = [[[value] for value in row.cell.paper] for row in report.rows]
        return list(report.table.columns), rows
    styles = [style for style in report.styles if style.title != 'survivors']
    if report.table.figures == 'anchor_ratio':
        styles = [style for style in styles if style.title.endswith('gain')]
    rows = [
        [
            [m[style] for m in row.by_seed.values() if m.get(style) is not None]
            for style in styles
        ]
        for row in report.rows
    ]
    return [style.title for style in styles], rows


def _points(report: Report, panel: str, axis: Any) -> None:
    titles, rows = _series(report, panel)
    for number, title in enumerate(titles):
        shift = (number - (len(titles) - 1) / 2) * 0.12
        drawn = [
            (cell + shift, values[number])
            for cell, values in enumerate(rows)
            if values and values[number]
        ]
        (line,) = axis.plot(
            [x for x, _ in drawn],
            [sum(values) / len(values) for _, values in drawn],
            'o',
            label=title,
        )
        for x, values in drawn:
            if len(values) > 1:
                axis.plot([x] * len(values), values, '.-', color=line.get_color(), ms=3)
    axis.set_xticks(
        range(len(rows)),
        [row.cell.label for row in report.rows],
        rotation=20,
        ha='right',
        fontsize='small',
    )
    is_ap = report.table.figures == 'ap'
    axis.set(
        title=panel,
        ylabel='AP, percent' if is_ap else 'gain',
        xlim=(-0.5, len(rows) - 0.5),
    )
    axis.legend(fontsize='x-small')


def _lines(report: Report, panel: str, axis: Any) -> None:
    titles, rows = _series(report, panel)
    for row, values in zip(report.rows, rows, strict=True):
        drawn = [(x, numbers) for x, numbers in enumerate(values) if numbers]
        (line,) = axis.plot(
            [x for x, _ in drawn],
            [sum(numbers) / len(numbers) for _, numbers in drawn],
            label=row.cell.label,
        )
        for x, numbers in drawn:
            axis.plot([x] * len(numbers), numbers, '.', color=line.get_color())
    axis.set_xticks(range(len(titles)), titles)
    if report.table.figures == 'false_positives':
        axis.set_yscale('symlog', linthresh=1)
        axis.set(title=panel, xlabel='recall', ylabel='false positives')
    else:
        axis.set(title=panel, xlabel='least IoU of a match', ylabel='AP, percent')
    axis.legend(fontsize='small')
