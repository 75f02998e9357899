"""Text from an attribute list: values are filled in, an answer that leaves an attribute out is tried again, and what no try says is asked for
by itself.

Sampling a few answers and keeping the one that says most is what the slot error rate of data-to-text models is usually brought down with
(reranking by missing slots: Dušek & Jurčíček 2016, arXiv 1606.05491); a long list is easier for a small model in two short ones.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from ..tasks.attributes import attributes
from ..tasks.slots import Slots, fill, mask
from .generate.results import Completion
from .generate.sampling import Sampling

_TRIES, _REST = 6, 4
_WARMTH = 0.7
"""Temperature of a further try where the first was greedy, which would say the same again."""
Ask = Callable[[str, Sampling], Completion]


def covered(source: str, slots: Slots, ask: Ask, sampling: Sampling) -> Completion:
    """The answer of a few that mentions most, and a sentence about the rest. The first answer is kept unless another says more."""
    best, missing = _best(source, slots, ask, sampling, _TRIES)
    if missing and best.finish == "end":
        listed = attributes(source)
        rest = ", ".join(f"{name}[{value}]" for at, (name, value) in enumerate(listed) if name in missing or (at == 0 and len(listed) > 1))
        more, _ = _best(rest, slots, ask, sampling, _REST)
        both = replace(more, text=f"{best.text.rstrip()} {more.text.strip()}", ids=(*best.ids, *more.ids), tokens=best.tokens + more.tokens,
                       seconds_first=best.seconds_first)
        if len(slots.missing(source, both.text)) < len(missing):
            return both
    return best


def _best(asked: str, slots: Slots, ask: Ask, sampling: Sampling, tries: int) -> tuple[Completion, tuple[str, ...]]:
    """(the answer that leaves out least, what it leaves out)."""
    values = mask(asked, slots.filled)[1]
    best: tuple[Completion, tuple[str, ...]] | None = None
    for number in range(tries):
        said = ask(asked, sampling if number == 0 else replace(sampling, temperature=sampling.temperature or _WARMTH, seed=sampling.seed + number))
        said = replace(said, text=fill(said.text, values))
        missing = slots.missing(asked, said.text)
        if best is None or len(missing) < len(best[1]):
            best = said, missing
        if not missing:
            break
    assert best is not None
    return best
