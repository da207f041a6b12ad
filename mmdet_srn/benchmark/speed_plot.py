"""AP against time, one point a detector."""

from collections.abc import Mapping

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure


def draw_speed(
    aps: Mapping[str, Mapping[str, float]], times: Mapping[str, float], label: str
) -> Figure:
    """Draw a panel for each set of photographs.

    Args:
        aps: AP of each detector, by the set's name.
        times: Milliseconds of each detector. One without an AP is a line.
        label: What the time is of.
    """
    figure = Figure(figsize=(4 * len(aps), 3.2), layout='constrained')
    FigureCanvasAgg(figure)
    panels = figure.subplots(1, len(aps), squeeze=False)[0]
    small = dict(textcoords='offset points', fontsize='small')
    for axes, (title, found) in zip(panels, aps.items(), strict=True):
        for number, (name, time) in enumerate(times.items()):
            color = f'C{number}'
            if name in found:
                place = time, found[name]
                axes.plot(*place, 'o', color=color)
                axes.annotate(name, place, (0, 6), ha='center', color=color, **small)
                continue
            axes.axvline(time, ls=':', color=color)
            look = dict(ha='right', rotation=90, color=color, **small)
            bottom = axes.get_xaxis_transform()
            axes.annotate(name, (time, 0.02), (-4, 0), bottom, **look)
        axes.set(title=title, xlabel=label, ylabel='AP', xscale='log', ylim=(0, 1))
        axes.margins(x=0.2)
        axes.grid(alpha=0.3)
    return figure
