"""What every model says to a conversation or a prompt, in one form: pieces of text, the last with how it ended.

A model that writes writes; one that sorts says its label; one that chooses sentences says its summary.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, cast

from ..fleet import generation
from ..fleet.entry import Entry, Version
from ..run.generate.results import Choice, Piece, Timings
from ..run.generate.sampling import Sampling
from ..run.writing import Writer
from . import answers
from .call import Call
from .problems import bad

SEEDS = (1 << 32) - 1
Messages = list[dict[str, str]]


@dataclass
class Said:
    """A whole answer, and its cost in tokens (0 where no tokens are counted)."""

    text: str = ""
    finish: str = "stop"
    prompt_tokens: int = 0
    tokens: int = 0
    chosen: list[Choice] = field(default_factory=list)

    def add(self, piece: Piece) -> None:
        """Takes one more piece in."""
        self.text += piece.text
        self.chosen += piece.chosen
        if piece.finish is not None:
            self.finish = "length" if piece.finish == "length" or self.finish == "length" else "stop"
        if piece.timings is not None:
            self.prompt_tokens += piece.timings.prompt_tokens
            self.tokens += piece.timings.tokens


@dataclass(frozen=True)
class Asked:
    """What is asked: a conversation, or a text to go on from. `sampling` are the fields of Sampling that were given, `ids` the prompt where it is made already."""

    messages: Messages | None
    text: str
    sampling: dict[str, Any]
    logprobs: int | None = None
    ids: tuple[int, ...] | None = None


async def speak(call: Call, entry: Entry, version: Version, asked: Asked, *, stream: bool) -> AsyncIterator[Piece]:
    """The pieces of an answer; one only where it is not streamed or not written."""
    sort = version.loaded.sort
    if sort == "write":
        async with contextlib.aclosing(_written(call, version, asked, stream)) as pieces:  # type: ignore[type-var]
            async for piece in pieces:
                yield piece
        return
    if asked.sampling.get("json_schema") or asked.sampling.get("stop"):
        raise bad("this model does not write, so there is nothing to hold it to (stop, response_format)", param="model")
    texts = answers.listed(asked.text, call, "messages" if asked.messages else "prompt")
    if sort == "classify":
        found = await answers.sort_with(call, version, texts)
        said, handed = found[0], await answers.handed_over(call, version, texts, found)
        label = handed[0].label if handed else said.label
        labels = cast(Any, version.loaded.model).labels
        order = said.ranked()[:max(1, asked.logprobs or 1)]
        top = tuple((labels[index], math.log(max(said.probs[index], 1e-30))) for index in order)
        prob = said.probs[labels.index(label)] if handed and label is not None else said.confidence
        chosen = (Choice(label or "", math.log(max(prob, 1e-30)), top),)
        yield Piece(label or "", finish="end", chosen=chosen if asked.logprobs is not None else ())
    else:
        summary = (await answers.choose_with(call, version, texts, {}))[0]
        yield Piece(summary.text, finish="end")


async def prepared(call: Call, version: Version, asked: Asked) -> Asked:
    """The question with its prompt made, where it has one: several choices read the same. Raises UsageError where it does not fit."""
    if version.loaded.sort != "write" or asked.ids is not None:
        return asked
    writer = cast(Writer, version.loaded.model)
    if not _goes_on(writer, asked):
        return asked
    ids, dropped = await asyncio.to_thread(_prompt, writer, asked, _sampling(writer, asked))
    if dropped:
        call.notes["dropped"] = dropped
    return replace(asked, ids=tuple(ids))


async def _written(call: Call, version: Version, asked: Asked, stream: bool) -> AsyncIterator[Piece]:
    writer = cast(Writer, version.loaded.model)
    sampling = _sampling(writer, asked)
    if not _goes_on(writer, asked):
        if not stream and asked.logprobs is None:
            said = await generation.written(version, asked.text, sampling, call.deadline)
            yield Piece(said.text, said.ids, said.finish, Timings(said.prompt_tokens, said.tokens, 0, said.seconds_first, said.tokens_per_second))
            return
        pieces = generation.streamed(version, asked.text, sampling, call.deadline)
    else:
        prompt = (await prepared(call, version, asked)).ids
        assert prompt is not None
        if not stream:
            yield (await generation.completed(version, prompt, sampling, call.deadline))[1]
            return
        pieces = generation.continued(version, prompt, sampling, call.deadline)
    async with contextlib.aclosing(pieces) as heard:  # type: ignore[type-var]
        async for piece in heard:
            yield piece


def _goes_on(writer: Writer, asked: Asked) -> bool:
    """Whether the model continues one prompt, rather than answering a text part by part."""
    return writer.task in (("lm", "chat") if asked.messages is None else ("chat",))


def _sampling(writer: Writer, asked: Asked) -> Sampling:
    return Sampling(**{"max_tokens": writer.prompt.max_tokens, **asked.sampling, "logprobs": asked.logprobs or 0})


def _prompt(writer: Writer, asked: Asked, sampling: Sampling) -> tuple[list[int], int]:
    """The prompt's ids, and how many old messages no longer fit; for a thread."""
    if asked.messages is None:
        begin = [writer.prompt.begin] if writer.prompt.begin is not None else []
        return [*begin, *(writer.engine.tokenize(asked.text) if asked.text else [])], 0
    kept, gone = writer.fit(asked.messages, sampling)
    return writer.chat_ids(kept), len(gone)


def counted(call: Call, entry: Entry, said: Said) -> None:
    """Adds an answer's tokens to log and metrics."""
    if said.tokens:
        call.notes |= {"prompt_tokens": said.prompt_tokens, "tokens": said.tokens}
        tokens = call.service.metrics.tokens
        tokens.labels(entry.name, "read").inc(said.prompt_tokens)
        tokens.labels(entry.name, "written").inc(said.tokens)


def last_words(messages: Messages) -> str:
    """What the user said last: the text for a model that was not made for conversations."""
    for message in reversed(messages):
        if message["role"] == "user":
            return message["content"]
    raise bad("no message has the role 'user'", param="messages")


def stops(given: str | Sequence[str] | None) -> tuple[str, ...]:
    """The stop strings as a tuple."""
    return () if given is None else (given,) if isinstance(given, str) else tuple(given)
