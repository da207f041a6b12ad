"""Area under a precision-recall curve."""

import numpy as np


def voc_average_precision(recall: np.ndarray, precision: np.ndarray) -> float:
    """Compute the area under the envelope of a precision-recall curve, from all points.

    This is the rule of Pascal VOC since 2010 and of the official WIDER FACE tool: the
    precision at a recall is the best one at this recall or above. Precisions of NaN
    (nothing detected yet) are ignored.

    Args:
        recall: Non-decreasing, (N,), in [0, 1]; thresholds fall.
        precision: Precision at the same thresholds, (N,).

    Returns:
        The area, 0 for an empty curve; NaN if a recall is NaN (there was nothing to
        find).
    """
    recall = np.concatenate(([0.0], np.asarray(recall, np.float64), [1.0]))
    precision = np.concatenate(([0.0], np.asarray(precision, np.float64), [0.0]))
    # fmax ignores NaN, as MATLAB's max does.
    envelope = np.fmax.accumulate(precision[::-1])[::-1]
    return float(np.sum(np.diff(recall) * envelope[1:]))
