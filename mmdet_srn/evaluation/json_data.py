"""Results as JSON can hold them."""

import math
from typing import Any

import numpy as np


def plain(value: Any) -> Any:
    """Make named tuples dicts, arrays lists, and NaN and infinite numbers None."""
    if hasattr(value, '_asdict'):
        value = value._asdict()
    elif isinstance(value, np.ndarray):
        value = value.tolist()
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [plain(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
