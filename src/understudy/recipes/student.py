"""What a finished student is to the recipe, before it becomes a rung of the bundle."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np


@dataclass(frozen=True)
class Student:
    """A trained model and its files.

    `held_logits` (held, k) come from models that did not see those rows; `float_logits(texts)` from the final one before
    int8. `kind` names the file in `run.kinds` that answers from `files` (paths inside the rung's folder).
    """

    name: str
    kind: str
    files: dict[str, bytes]
    held_logits: np.ndarray
    float_logits: Callable[[Sequence[str]], np.ndarray]
    parameters: int
    precision: str
    seconds: float
    cost: float
    """Nominal milliseconds per request, from the operations it does: the order of the ladder must not depend on a clock."""
    max_tokens: int | None = None
    helper: bool = False
    """Never answers itself; later rungs add its logits."""
    notes: tuple[str, ...] = ()
    measured: dict[str, float] = field(default_factory=dict)

    @property
    def bytes(self) -> int:
        """Size on disk, tokenizer included."""
        return sum(len(data) for data in self.files.values())
