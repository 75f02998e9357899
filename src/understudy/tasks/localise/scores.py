"""Scores of translated texts that no general measure sees."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from ...errors import UsageError
from .placeholders import BREAKING, find


def placeholder_survival(sources: Sequence[str], targets: Sequence[str]) -> float:
    """Share (0 to 1) of the placeholders, tags, URLs and e-mail addresses in `sources` that stand in their `targets`.

    Each occurrence counts; numbers, entities and accelerators do not. A plural or select counts as one that survives where
    the target has one on the same argument. 1.0 where there is none. Raises UsageError where the lengths differ.
    """
    if len(sources) != len(targets):
        raise UsageError(f"{len(sources):,} sources but {len(targets):,} targets",
                         hint="give one target for every source, in the same order")
    total = kept = 0
    for source, target in zip(sources, targets, strict=True):
        want, got = _counted(source), _counted(target)
        total += want.total()
        kept += (want & got).total()
    return kept / total if total else 1.0


def _counted(text: str) -> Counter[str]:
    out: Counter[str] = Counter()
    for span in find(text):
        if span.kind == "icu":
            out[",".join(part.strip() for part in span.text.split(",")[:2])] += 1
        elif span.kind in BREAKING or span.kind in ("url", "email"):
            out["".join(span.text.split())] += 1
    return out
