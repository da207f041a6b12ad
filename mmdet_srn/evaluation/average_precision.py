"""Area under a precision-recall curve."""

import numpy as np


def voc_average_precision(recall: np.ndarray, precision: np.ndarray) -> float:
    """Area under the envelope of a precision-recall curve, all points used.

    Pascal VOC's rule since 2010, and the official WIDER FACE tool's: the precision
    at a recall is the best one at this recall or a higher one. A precision of NaN
    (nothing detected yet) is passed over.

    Args:
        recall: Recall at falling thresholds, (N,) and non-decreasing, in [0, 1].
        precision: Precision at the same thresholds, (N,).

    Returns:
        The area, in [0, 1]; 0 for an empty curve. NaN if a recall is NaN, that is
        if there was nothing to find.
    """
    recall = np.concatenate(([0.0], np.asarray(recall, np.float64), [1.0]))
    precision = np.concatenate(([0.0], np.asarray(precision, np.float64), [0.0]))
    # fmax passes over NaN, as MATLAB's max does.
    envelope = np.fmax.accumulate(precision[::-1])[::-1]
    return float(np.sum(np.diff(recall) * envelope[1:]))
