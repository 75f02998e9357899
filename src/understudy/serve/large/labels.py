"""Handing over: the large model chooses one of a bundle's labels for texts that the small one is not sure of."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

from .client import AT_ONCE, Large
from .trouble import Trouble

_TEXT = 20_000
"""Characters of a text that are sent."""
_ASKED = "Sort the user's text into exactly one of these labels. Answer with the label alone, written as it is here, and nothing else."


class Handed(NamedTuple):
    """`label` is None where the large model gave none; `why` is answered, or a code that says what was wrong."""

    label: str | None
    why: str
    milliseconds: float


class Chooser:
    """The question of one request; `until` is of the monotonic clock."""

    def __init__(self, large: Large, labels: Sequence[str], descriptions: Mapping[str, str], until: float) -> None:
        self._large, self._until = large, until
        lines = [f"- {label}: {descriptions[label]}" if descriptions.get(label) else f"- {label}" for label in labels]
        self._system = "\n".join([_ASKED, "", *lines])
        self._longest = max(16, 2 * max(map(len, labels)))
        folded: dict[str, list[str]] = {}
        for label in labels:
            folded.setdefault(label.strip().casefold(), []).append(label)
        # Labels that differ by their case alone count only as they are written.
        self._written, self._folded = {label.strip(): label for label in labels}, {key: same[0] for key, same in folded.items() if len(same) == 1}

    async def choose(self, texts: Sequence[str]) -> list[Handed]:
        """A label per text, or why there is none; never raises Trouble."""
        some = asyncio.Semaphore(AT_ONCE)  # one request of many texts may not fill the line

        async def one(text: str) -> Handed:
            async with some:
                return await self._chosen(text)

        async with asyncio.TaskGroup() as group:  # ends them all where the client leaves
            tasks = [group.create_task(one(text)) for text in texts]
        return [task.result() for task in tasks]

    async def _chosen(self, text: str) -> Handed:
        began = time.monotonic()
        question = {"messages": [{"role": "system", "content": self._system}, {"role": "user", "content": text[:_TEXT]}],
                    "temperature": 0, "max_tokens": self._longest, "stream": False}
        label, why = None, "answered"
        try:
            async with self._large.answering(question, self._until) as reply:
                label = self._label(await reply.whole(self._until))
                if label is None:
                    raise Trouble("nonsense", outage=False)
        except Trouble as trouble:
            why = trouble.why
        return Handed(label, why, (time.monotonic() - began) * 1e3)

    def _label(self, data: bytes) -> str | None:
        said = said_in(read_answer(data))
        return None if said is None else self._written.get(said.strip()) or self._folded.get(said.strip().casefold())


def read_answer(data: bytes) -> dict[str, Any]:
    """A whole answer in OpenAI's shape, with at least one choice that has a message. Raises Trouble."""
    try:
        told = msgspec.json.decode(data)
        fine = isinstance(told["choices"][0]["message"], dict) and isinstance(told["choices"], list)
    except (ValueError, RecursionError, TypeError, KeyError, IndexError):
        fine = False
    if not fine:
        raise Trouble("nonsense")
    return told


def said_in(answer: dict[str, Any]) -> str | None:
    """What the first choice says."""
    said = answer["choices"][0]["message"].get("content")
    return said if isinstance(said, str) else None
