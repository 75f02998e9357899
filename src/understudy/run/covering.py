"""Text from an attribute list: values are filled in, and an answer that leaves an attribute out is tried again.

Sampling a few answers and keeping the one that says most is what the slot error rate of data-to-text models is usually brought down with
(reranking by missing slots: Dušek & Jurčíček 2016, arXiv 1606.05491).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from ..tasks.slots import Slots, fill, mask
from .generate.results import Completion
from .generate.sampling import Sampling

_TRIES = 6
_WARMTH = 0.7
"""Temperature of a further try where the first was greedy, which would say the same again."""


def covered(source: str, slots: Slots, ask: Callable[[Sampling], Completion], sampling: Sampling) -> Completion:
    """The answer of a few that mentions most. The first one is kept unless another says more."""
    values = mask(source, slots.filled)[1]
    best: tuple[Completion, int] | None = None
    for number in range(_TRIES):
        said = ask(sampling if number == 0 else replace(sampling, temperature=sampling.temperature or _WARMTH, seed=sampling.seed + number))
        said = replace(said, text=fill(said.text, values))
        missing = len(slots.missing(source, said.text))
        if best is None or missing < best[1]:
            best = said, missing
        if not missing:
            break
    assert best is not None
    return best[0]
