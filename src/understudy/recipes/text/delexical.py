"""Attribute lists as a model learns them: values that are said word for word are left out, and the bundle fills them in."""

from __future__ import annotations

from collections.abc import Sequence

from ...tasks.reading.pairs import Pair
from ...tasks.reading.turns import Conversation
from ...tasks.slots import NONE, Slots, mask_pair, slots_of
from ..events import Event, Listener


def found_slots(pairs: Sequence[Pair], task: str, listen: Listener) -> Slots:
    """What the task's pairs show about their attributes: nothing unless the task is to generate from attribute lists."""
    if task != "generate":
        return NONE
    slots = slots_of([(pair.source, pair.target) for pair in pairs])
    if slots.filled:
        listen(Event("read", f"said word for word, so filled in rather than learned: {', '.join(slots.filled)}"))
    if slots.checked:
        listen(Event("read", f"looked for in every answer: {', '.join(slots.checked)}"))
    return slots


def masked(rows: Sequence[Pair | Conversation], slots: Slots) -> list[Pair | Conversation]:
    """The rows with marks in place of values that are filled in."""
    return [_masked(row, slots) if isinstance(row, Pair) else row for row in rows] if slots.filled else list(rows)


def _masked(pair: Pair, slots: Slots) -> Pair:
    source, target = mask_pair(pair.source, pair.target, slots.filled)
    return Pair(source, target, pair.line)
