"""A written summary within a budget of words or sentences: it is cut where a sentence ends, and each part of a long document has its share."""

from __future__ import annotations

from collections.abc import Sequence

from .sentences import sentences, words_of
from .summarise import Budget


def shortened(parts: Sequence[str], budget: Budget) -> tuple[list[str], list[str]]:
    """(the parts cut, flags): together they have no more words or sentences than the budget says; what was not cut stays as it was.

    The parts give a sentence each, in turn, the longest part first, until nothing more fits; a part's sentences are never picked out of
    their order. Where not even one sentence fits, its first words are given, which a flag says.
    """
    said = [[span.of(part) for span in sentences(part)] or [part] for part in parts]
    words = [[len(words_of(one)) for one in part] for part in said]
    costs = [budget.costs(counts)[0] for counts in words]
    limit = budget.costs([sum(map(sum, words))])[1]
    taken, open_ = [0] * len(parts), sorted(range(len(parts)), key=lambda at: -sum(words[at]))
    while open_:
        for at in tuple(open_):
            if taken[at] < len(said[at]) and costs[at][taken[at]] <= limit:
                limit -= costs[at][taken[at]]
                taken[at] += 1
            else:
                open_.remove(at)
    if not any(taken) and budget.words is not None:
        first = max(range(len(parts)), key=lambda at: sum(words[at]), default=0)
        cut = [_first_words(said[at][0], budget.words) if at == first else "" for at in range(len(parts))]
        return cut, [f"no sentence fits into {budget.words} words; this is the beginning of one"]
    return [part if count == len(some) else part[: _end(part, count)] for part, some, count in zip(parts, said, taken, strict=True)], []


def _end(part: str, count: int) -> int:
    """Where the first `count` sentences of a part end."""
    return sentences(part)[count - 1].end if count else 0


def _first_words(sentence: str, most: int) -> str:
    """The longest beginning, cut at white space, of at most so many words."""
    kept: list[str] = []
    for word in sentence.split():
        most -= len(words_of(word))
        if most < 0:
            break
        kept.append(word)
    return " ".join(kept)
