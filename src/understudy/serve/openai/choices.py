"""Several choices for one question, side by side: each stands in the model's line as a request of its own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing
from dataclasses import replace

from ...fleet.entry import Entry, Version
from ...run.generate.results import Piece
from .. import speaking
from ..call import Call
from ..problems import bad
from ..speaking import Asked, Said
from .sampling import Usage

_AHEAD = 16
"""Pieces that wait for a client which reads slowly, before what writes them is not listened to."""


class Choosing:
    """The `n` choices for one question. Choice i is what n=1 says with `seed` + i (from 0 where none is given), so that they differ.

    Where they cannot differ (at temperature 0, and from a model that does not write) one answer is computed, and stands `n` times.
    """

    def __init__(self, call: Call, entry: Entry, version: Version, asked: Asked, n: int) -> None:
        self._call, self._entry, self._version = call, entry, version
        self._asked = [asked]
        if n > 1 and version.loaded.sort == "write" and asked.sampling.get("temperature"):
            seed = asked.sampling.get("seed", 0)
            self._asked = [replace(asked, sampling={**asked.sampling, "seed": (seed + place) % speaking.SEEDS}) for place in range(n)]
        self.said = [Said() for _ in range(n)]
        self._left = n

    @property
    def done(self) -> bool:
        """Whether every choice has ended."""
        return not self._left

    async def pieces(self, *, stream: bool) -> AsyncIterator[tuple[int, Piece | None]]:
        """(index, piece) as they come, None where that choice has ended. Where one raises, the others end too."""
        call, entry, version = self._call, self._entry, self._version
        asked = self._asked
        if len(asked) > 1:
            # Made once, so that all of them are in line, or refused, before the first one has a word.
            ids = (await speaking.prepared(call, version, asked[0])).ids
            asked = [replace(one, ids=ids) for one in asked]
        async with aclosing(_interleaved([speaking.speak(call, entry, version, one, stream=stream) for one in asked])) as heard:  # type: ignore[type-var]
            async for source, piece in heard:
                for index in [source] if len(asked) > 1 else range(len(self.said)):
                    if piece is None:
                        self._left -= 1
                    else:
                        self.said[index].add(piece)
                    yield index, piece

    async def whole(self) -> list[Said]:
        """The choices, each whole."""
        async with aclosing(self.pieces(stream=False)) as pieces:  # type: ignore[type-var]
            async for _ in pieces:
                pass
        return self.said

    @property
    def read(self) -> int:
        """Tokens of the prompt."""
        return self.said[0].prompt_tokens

    @property
    def written(self) -> int:
        """Tokens that were computed."""
        return sum(one.tokens for one in self.said[:len(self._asked)])


def computed(*several: Choosing) -> Said:
    """The cost of what was computed, for log and metrics: each prompt once, and every answer that was written."""
    return Said(prompt_tokens=sum(one.read for one in several), tokens=sum(one.written for one in several))


def usage(*several: Choosing) -> Usage:
    """The cost as a client is told it: each prompt once, and every choice that it gets."""
    read, written = sum(one.read for one in several), sum(said.tokens for one in several for said in one.said)
    return Usage(read, written, read + written)


def bounded(call: Call, n: int | None, prompts: int = 1) -> int:
    """How many choices each prompt gets. Raises 400 where all together are more than one request may ask for."""
    n, most = n or 1, call.service.config.inputs
    if n * prompts > most:
        raise bad(f"{prompts} x {n} choices are {n * prompts}; at most {most} may be asked in one request", param="n", code="too_many_inputs")
    return n


async def _interleaved(sources: Sequence[AsyncIterator[Piece]]) -> AsyncIterator[tuple[int, Piece | None]]:
    """What several sources say, as it comes, None at the end of each. What one raises is raised, and ends them all, as leaving does."""
    if len(sources) == 1:  # as nearly always: no task and no queue for it
        async with aclosing(sources[0]) as pieces:  # type: ignore[type-var]
            async for piece in pieces:
                yield 0, piece
        yield 0, None
        return
    heard: asyncio.Queue[tuple[int, Piece | Exception | None]] = asyncio.Queue(_AHEAD)

    async def listen(place: int, source: AsyncIterator[Piece]) -> None:
        end = None
        try:
            async with aclosing(source):  # type: ignore[type-var]
                async for piece in source:
                    await heard.put((place, piece))
        except Exception as problem:
            end = problem
        await heard.put((place, end))

    tasks, left = [asyncio.create_task(listen(place, source)) for place, source in enumerate(sources)], len(sources)
    try:
        while left:
            place, said = await heard.get()
            if isinstance(said, Exception):
                raise said
            left -= said is None
            yield place, said
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
