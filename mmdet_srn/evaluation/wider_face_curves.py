"""Published precision-recall curves of WIDER FACE, and their plot."""

import math
from collections.abc import Mapping
from itertools import cycle, product
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from .average_precision import voc_average_precision
from .mat_file import load_mat
from .wider_face_eval import SubsetResult
from .wider_face_ground_truth import SUBSETS

if TYPE_CHECKING:
    from matplotlib.figure import Figure


_COLORS = 'blue green orange purple brown cyan olive gray pink'.split()


class Curve(NamedTuple):
    """A precision-recall curve, (N,) each."""

    precision: np.ndarray
    recall: np.ndarray

    @property
    def ap(self) -> float:
        """Area under the curve, as in the official tool."""
        return voc_average_precision(self.recall, self.precision)


def read_published_curves(folder: str | Path) -> dict[str, dict[str, Curve]]:
    """Read curves in the layout of the official tool, name -> subset -> curve.

    Files are ``<name>/wider_pr_info_<name>_{easy,medium,hard}_val.mat`` (v5 to v7.3);
    others are ignored.

    Raises:
        NotADirectoryError: If there is no such folder.
        FileNotFoundError: If it has no curve, or a detector lacks a subset.
        ValueError: If a file is malformed.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise NotADirectoryError(f'no folder of curves {str(folder)!r}')
    curves: dict[str, dict[str, Curve]] = {}
    for path in sorted(folder.iterdir()):
        if path.is_dir() and any(path.glob('wider_pr_info_*_val.mat')):
            curves[path.name] = {
                subset: _read_curve(path, subset) for subset in SUBSETS
            }
    if not curves:
        raise FileNotFoundError(
            f'no <name>/wider_pr_info_<name>_easy_val.mat in {str(folder)!r}'
        )
    return curves


def _read_curve(folder: Path, subset: str) -> Curve:
    path = folder / f'wider_pr_info_{folder.name}_{subset}_val.mat'
    # The name is misspelt in the official tool.
    table = load_mat(path, ['pr_cruve'])['pr_cruve']
    if not isinstance(table, np.ndarray) or table.ndim != 2 or table.shape[1] != 2:
        raise ValueError(f'{path}: pr_cruve does not have two columns')
    if table.dtype.kind not in 'fiu':
        raise ValueError(f'{path}: pr_cruve does not hold real numbers')
    return Curve(*table.T.astype(np.float64))


def truncate(value: float) -> str:
    """Format a figure as the papers do, truncated instead of rounded: '0.964'."""
    if math.isnan(value):
        return 'nan'
    # The shortest digits of this number, so that 0.29 does not become 0.289.
    whole, _, digits = np.format_float_positional(value, trim='0').partition('.')
    return f'{whole}.{digits[:3]:0<3}'


def plot_curves(
    name: str,
    results: Mapping[str, SubsetResult],
    published: Mapping[str, Mapping[str, Curve]] | None = None,
    title: str = '',
) -> 'Figure':
    """Draw the curves of the three subsets side by side, legends sorted by AP.

    The evaluated detector's curve is red and thick; ``published`` is from
    :func:`read_published_curves`, ``title`` a line above the panels.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(15, 5), layout='constrained')
    FigureCanvasAgg(figure)
    if title:
        figure.suptitle(title)
    published = published or {}
    # Colors are the same in all panels, and none is red.
    looks = product(('-', '--', ':'), _COLORS)
    styles = {
        other: dict(color=f'tab:{color}', ls=line, lw=1.5)
        for other, (line, color) in zip(sorted(published), cycle(looks), strict=False)
    }
    for axes, subset in zip(figure.subplots(1, len(SUBSETS)), SUBSETS, strict=True):
        curves = {other: (published[other][subset], styles[other]) for other in styles}
        ours = Curve(results[subset].precision, results[subset].recall)
        entries = [*curves.items(), (name, (ours, dict(color='red', lw=2.5, zorder=9)))]
        entries.sort(key=lambda entry: -np.nan_to_num(entry[1][0].ap, nan=-1.0))
        for label, (curve, style) in entries:
            text = f'{label}-{truncate(curve.ap)}'
            axes.plot(curve.recall, curve.precision, label=text, **style)
        axes.set(title=subset.capitalize(), xlabel='Recall', ylabel='Precision')
        axes.set(xlim=(0, 1), ylim=(0, 1.02))
        axes.grid(alpha=0.4)
        axes.legend(loc='lower left', fontsize='small')
    return figure
