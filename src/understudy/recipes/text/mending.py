"""Pairs as a model learns them that is to mend near matches: each alone and beside what the others, as a memory, say to similar texts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from ...tasks.localise.memory import Memory
from ...tasks.localise.mending import asked, lessons, masked_answer
from ...tasks.reading.pairs import Pair
from ..events import Event, Listener
from .prepare import PreparedText

_FURTHER = 40_000
"""Further pairs that are shown with matches, drawn at random, and from what likeness on: they teach to copy and to mend, not the memory."""
_FURTHER_LEAST = 0.5
_STEP = 1000


def mending(prepared: PreparedText, seed: int, listen: Listener) -> PreparedText:
    """The same data with matches beside the sources. Test sources are asked with the training pairs as their memory."""
    rng = np.random.default_rng([seed, 11])
    own = _plain(prepared.train)
    memory = Memory(own)
    train = _pairs(lessons(own, memory, rng))
    listen(Event("read", f"{len(own):,} pairs are each other's memory: {len(train):,} rows to learn from"))
    more = list(prepared.more)
    if more:
        drawn = [more[at] for at in rng.permutation(len(more))[:_FURTHER]]
        shown = _plain(drawn)
        known = set(shown)
        rest = [pair for pair in more if (pair.source, pair.target) not in known]
        more = [*_pairs(_lessons(shown, rng, listen)), *rest]
    test = [_asked(pair, memory) for pair in prepared.test]
    return replace(prepared, train=train, more=tuple(more), test=test)


def _lessons(shown: Sequence[tuple[str, str]], rng: np.random.Generator, listen: Listener) -> list[tuple[str, str]]:
    """Rows of further pairs, which take minutes to find: said as they are made."""
    memory, rows = Memory(shown), list[tuple[str, str]]()
    for at in range(0, len(shown), _STEP):
        rows += lessons(shown[at:at + _STEP], memory, rng, _FURTHER_LEAST)
        done = min(at + _STEP, len(shown))
        listen(Event("read", f"matches for {done:,} of {len(shown):,} further pairs", done / len(shown)))
    return list(dict.fromkeys(rows))


def _plain(pairs: Sequence[Pair]) -> list[tuple[str, str]]:
    return [(pair.source, pair.target) for pair in pairs]


def _pairs(rows: Sequence[tuple[str, str]]) -> list[Pair]:
    return [Pair(source, target) for source, target in rows]


def _asked(pair: Pair, memory: Memory) -> Pair:
    """A test pair as the model is asked about it, its references masked alike; as it is where one of them lacks a placeholder."""
    found = asked(pair.source, memory)
    if found is None:
        return pair
    prompt, tokens = found
    answers = [masked_answer(reference, tokens) for reference in pair.references]
    whole = [one for one in answers if one is not None]
    return Pair(prompt, whole[0], pair.line, tuple(whole[1:])) if len(whole) == len(answers) else pair
