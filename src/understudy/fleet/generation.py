"""Asking a model that writes: prompts made in a thread, their continuations side by side, one answer out of them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from contextlib import aclosing
from dataclasses import replace
from typing import cast

from ..errors import DeadlineError
from ..run.generate.results import Completion, Piece
from ..run.generate.sampling import Sampling
from ..run.writing import Writer, Written
from .entry import Version
from .writers import Writers, until

_DOCUMENTS = ThreadPoolExecutor(16, "documents")
"""Threads that wait for the parts of long texts: apart from those that load models, which may not wait for them."""


async def completed(version: Version, prompt: Sequence[int], sampling: Sampling, deadline: float, *, counted: bool = False) -> tuple[Completion, Piece]:
    """The whole continuation of one prompt, and the piece it came in (which has the probabilities)."""
    engine = cast(Writer, version.loaded.model).engine
    async with aclosing(cast(Writers, version.lane).write(engine, prompt, sampling, deadline, stream=False, counted=counted)) as pieces:  # type: ignore[type-var]
        piece = await anext(pieces)
        timings = piece.timings
        assert timings is not None and piece.finish is not None
        return Completion(piece.text, piece.ids, piece.finish, timings.prompt_tokens, timings.tokens, timings.seconds_first, timings.tokens_per_second, timings), piece


async def written(version: Version, text: str, sampling: Sampling, deadline: float, *, words: int | None = None, sentences: int | None = None) -> Written:
    """The answer to a text as `Writer.predict` gives it, each of its parts in the model's line. Raises what `Writers.write` raises."""
    writer, lane, loop = cast(Writer, version.loaded.model), cast(Writers, version.lane), asyncio.get_running_loop()
    running: set[Future[tuple[Completion, Piece]]] = set()
    left = False

    def complete(prompt: list[int], how: Sampling) -> Completion:
        if left:
            raise CancelledError
        asked = asyncio.run_coroutine_threadsafe(completed(version, prompt, how, deadline, counted=True), loop)
        running.add(asked)
        try:
            return asked.result()[0]
        finally:
            running.discard(asked)

    def predicted() -> Written:
        return writer.predict(text, sampling, words=words, sentences=sentences, complete=complete)

    try:
        with lane.document():
            async with until(deadline):
                return await loop.run_in_executor(_DOCUMENTS, predicted)
    except (asyncio.CancelledError, DeadlineError):
        left = True
        for asked in list(running):
            asked.cancel()
        raise


async def streamed(version: Version, text: str, sampling: Sampling, deadline: float) -> AsyncIterator[Piece]:
    """The answer to a text as it is written, part by part; each part ends with a piece that has `timings`."""
    writer = cast(Writer, version.loaded.model)
    for prompt, filler, gap in await asyncio.to_thread(lambda: list(writer.prompts(text, sampling))):
        finish = None
        if prompt is not None:
            async with aclosing(continued(version, prompt, sampling, deadline)) as pieces:  # type: ignore[type-var]
                async for piece in pieces:
                    finish = piece.finish
                    filled = filler.feed(piece.text) + (filler.flush() if finish is not None else "")
                    yield replace(piece, text=filled)
        if finish == "stop":
            return
        if gap:
            yield Piece(gap)


def continued(version: Version, prompt: Sequence[int], sampling: Sampling, deadline: float) -> AsyncIterator[Piece]:
    """The continuation of one prompt as it is written."""
    return cast(Writers, version.lane).write(cast(Writer, version.loaded.model).engine, prompt, sampling, deadline, stream=True)
