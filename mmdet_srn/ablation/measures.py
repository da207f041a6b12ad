"""What a table shows of one run, as named numbers."""

from typing import NamedTuple

from .detections import detection_figures
from .plan import Run
from .result import read_anchor_ratio, read_result
from .tables import Figures


class Style(NamedTuple):
    """How a column is written.

    Attributes:
        title: Its heading.
        digits: Behind the point.
    """

    title: str
    digits: int


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
#: The AP by which a cell is compared with the first, the first that there is.
MAIN = ('hard', 'AP, all faces')

Measures = dict[Style, float | None]
"""Column -> number; None where a recall is not reached or a ratio not defined."""


def measures(run: Run, figures: Figures) -> Measures | None:
    """The numbers of one run.

    Args:
        run: The run.
        figures: Which.

    Returns:
        The numbers; None if the run is not finished.
    """
    result = read_result(run)
    if result is None:
        return None
    if figures == 'ap':
        found: Measures = {
            Style(title, 1): 100 * result['metrics'][name]
            for name, title in _APS.items()
            if name in result['metrics']
        }
        if result['survivors'] is not None:
            found[Style('survivors', 1)] = 100 * result['survivors']
        return found
    if figures == 'anchor_ratio':
        return _anchor_ratio(run)
    detected = detection_figures(run)
    if figures == 'false_positives':
        return {
            Style(f'{100 * recall:g} %', 0): number
            for recall, number in detected.false_positives.items()
        }
    return {
        Style(f'IoU {iou:g}'.replace('0.', '.'), 1): 100 * ap
        for iou, ap in detected.ap_by_iou.items()
    }


def _anchor_ratio(run: Run) -> Measures | None:
    counts = read_anchor_ratio(run)
    if counts is None:
        return None
    found: Measures = {}
    for name in ('stc', 'str'):
        if name not in counts:
            continue
        part, title = counts[name], name.upper()
        for moment, positive, negative in zip(
            ('before', 'after'), part['positive'], part['negative'], strict=True
        ):
            found[Style(f'{title} 1 to .. {moment}', 0)] = (
                negative / positive if positive else None
            )
        found[Style(f'{title} gain', 2)] = part['gain']
        if name == 'stc':
            kept = part['positives_kept']
            found[Style('STC positives kept', 1)] = None if kept is None else 100 * kept
    return found
