"""Classification: one text, one label out of a closed set.

    decode   probabilities -> predictions, abstaining below a threshold
    check    a label set that a model can be trained on

Example: labels ("card", "refund"), probabilities [[0.9, 0.1]] decode to the label "card" at confidence 0.9.
"""

from __future__ import annotations

KIND = "classify"
