"""Classification: one text, one label out of a closed set.

Example: labels ("card", "refund"), logits [[2.0, 0.0]] are the probabilities [[0.88, 0.12]] and the label "card".
"""

from __future__ import annotations

import numpy as np

KIND = "classify"


def softmax(logits: np.ndarray) -> np.ndarray:
    """Probabilities of the logits along the last axis, same shape and dtype."""
    shifted = logits - np.maximum.reduce(logits, -1, keepdims=True)
    np.exp(shifted, out=shifted)
    shifted /= np.add.reduce(shifted, -1, keepdims=True)
    return shifted
