"""Neural fuzzy repair: a text goes to the model together with the translations of the texts most like it, and the model mends those.

After Bulté and Tezcan 2019 (aclanthology.org/P19-1175). Behind the text stands, for each match, MARK, its likeness in tenths and its
translation; placeholders are masked alike in all of them.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .memory import Match, Memory, grams_of
from .placeholders import Tokens, protect

MARK = "\x1f"
"""Unit separator: stands in no text of a user interface, and is one piece of every byte-level vocabulary."""
LEAST = 0.3
"""Likeness below which a translation has more to mislead than to lend."""
MOST = 2
_LOOKED_AT = 8


def asked(text: str, memory: Memory) -> tuple[str, Tokens] | None:
    """What the model is asked about `text`, and what `restore` needs for its answer; None where the memory has nothing alike."""
    matches = chosen(text, memory.matches(text, LEAST, _LOOKED_AT))
    masked, tokens = protect(text)
    return (_prompt(masked, tokens, matches), tokens) if matches else None


def lessons(pairs: Sequence[tuple[str, str]], memory: Memory, rng: np.random.Generator, least: float = LEAST) -> list[tuple[str, str]]:
    """(prompt, answer) rows for pairs that the memory may hold itself: each alone, with its best matches, and with others of them.

    A match is never the text itself. Pairs in which a placeholder of the source is missing from the target keep theirs unmasked.
    """
    rows = []
    for source, target in pairs:
        masked, tokens = protect(source)
        answer = masked_answer(target, tokens)
        if answer is None:
            masked, tokens, answer = source, Tokens(), target
        rows.append((masked, answer))
        found = memory.matches(source, least, _LOOKED_AT, itself=False)
        views = [chosen(source, found)]
        if len(found) > MOST:
            views.append([found[at] for at in sorted(rng.choice(len(found), int(rng.integers(1, MOST + 1)), replace=False))])
        rows += [(_prompt(masked, tokens, view), answer) for view in views if view]
    return list(dict.fromkeys(rows))


def chosen(text: str, matches: Sequence[Match]) -> list[Match]:
    """The best match, and of the others the one that has most of what the best lacks."""
    usable = [match for match in matches if len(match.target) <= 3 * len(text) + 40]
    if not usable:
        return []
    first, rest = usable[0], [match for match in usable[1:] if match.target != usable[0].target]
    missing = set(grams_of(text)) - set(grams_of(first.source))
    second = max(rest, key=lambda match: len(missing.intersection(grams_of(match.source))), default=None)
    return [first] if second is None else [first, second]


def _prompt(masked: str, tokens: Tokens, matches: Sequence[Match]) -> str:
    return masked.replace(MARK, " ") + "".join(f"{MARK}{min(9, int(10 * match.score))}{_lent(match.target, tokens)}" for match in matches)


def _lent(target: str, tokens: Tokens) -> str:
    """A match's translation with those placeholders masked that the text has too."""
    text = protect(target, mask=False)[0].replace(MARK, " ")
    for number, back in enumerate(tokens.masked):
        text = text.replace(back, f"{{{number}}}", 1)
    return text


def masked_answer(target: str, tokens: Tokens) -> str | None:
    """A translation with every mask of its source in place, or None where a placeholder is missing."""
    text = protect(target, mask=False)[0]
    for number, back in enumerate(tokens.masked):
        if back not in text:
            return None
        text = text.replace(back, f"{{{number}}}", 1)
    return text
