"""AP against time, one point a detector."""

from collections.abc import Mapping, Sequence

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullLocator, ScalarFormatter


def draw_speed(
    aps: Sequence[tuple[str, Mapping[str, float]]],
    times: Mapping[str, float],
    label: str,
) -> Figure:
    """Draw a panel for each set of photographs.

    Args:
        aps: Each set's name, and the AP of each detector.
        times: Milliseconds of each detector. One without an AP is a line.
        label: What the time is of.
    """
    figure = Figure(figsize=(3.5 * len(aps) + 1.5, 3), layout='constrained')
    FigureCanvasAgg(figure)
    panels = figure.subplots(1, len(aps), squeeze=False)[0]
    for axes, (title, found) in zip(panels, aps, strict=True):
        for number, (name, time) in enumerate(times.items()):
            look = dict(color=f'C{number}', label=name)
            if name in found:
                axes.plot(time, found[name], 'o', **look)
            else:
                axes.axvline(time, ls=':', **look)
        axes.set(title=title, xlabel=label, ylabel='AP', xscale='log')
        axes.margins(x=0.1, y=0.2)
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.xaxis.set_major_formatter(ScalarFormatter())
        axes.xaxis.set_minor_locator(NullLocator())
        axes.grid(alpha=0.3)
    figure.legend(*panels[0].get_legend_handles_labels(), loc='outside right upper')
    return figure
