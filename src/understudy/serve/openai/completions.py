"""/v1/completions."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Annotated, Any

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType, field

from .. import answers, speaking
from ..answers import leased
from ..call import Call, Route, Stream
from ..problems import bad
from ..speaking import Asked
from .choices import Choosing, bounded, computed, usage
from .sampling import Choices, Several, Shared, StreamOptions, Usage


class CompletionRequest(Shared, forbid_unknown_fields=True, kw_only=True):
    """A text to go on from, or several. `echo` puts each before what follows it."""

    prompt: str | list[str]
    logprobs: Annotated[int, Meta(ge=0, le=20)] | None = None
    echo: bool | None = None
    best_of: Several | None = None


class CompletionChoice(Struct):
    """What follows a prompt; those of the first prompt come first."""

    text: str
    index: int = 0
    finish_reason: str | None = None
    logprobs: dict[str, Any] | None = None


class CompletionResponse(Struct):
    """A whole answer, or one event of a stream."""

    id: str
    created: int
    model: str
    choices: list[CompletionChoice]
    object: str = "text_completion"
    system_fingerprint: str | None = None
    usage: Usage | UnsetType | None = field(default=UNSET)


async def complete(call: Call, body: CompletionRequest) -> CompletionResponse | Stream:
    """What follows a text."""
    if body.stream_options is not None and not body.stream:
        raise bad("stream_options needs stream", param="stream_options")
    if body.echo and body.logprobs is not None:
        raise bad("echo and logprobs are not done together: the probabilities of a prompt's tokens are not told here", param="echo")
    if body.best_of not in (None, 1, body.n or 1):
        raise bad("best_of is 1 or as n: no choice is thrown away here", param="best_of")
    prompts = answers.listed(body.prompt, call, "prompt")
    asked, n = [Asked(None, prompt, body.sampling(), body.logprobs) for prompt in prompts], bounded(call, body.n, len(prompts))
    if body.stream:
        if len(asked) > 1:
            raise bad("a stream answers one prompt", param="prompt")
        return Stream(_events(call, body, asked[0], n))
    async with leased(call, body.model, prompts[0]) as (entry, version):
        several = [Choosing(call, entry, version, one, n) for one in asked]
        # One prompt after the other: as many as a request may hold would not fit into the line.
        said = [(prompt, said) for prompt, one in zip(prompts, several, strict=True) for said in await one.whole()]
        speaking.counted(call, entry, computed(*several))
        choices = [CompletionChoice(prompt + one.text if body.echo else one.text, index, one.finish, _tokens(one.chosen, body.logprobs))
                   for index, (prompt, one) in enumerate(said)]
        return CompletionResponse(f"cmpl-{call.id}", int(time.time()), body.model or entry.name, choices, system_fingerprint=version.loaded.id[:12],
                                  usage=usage(*several))


async def _events(call: Call, body: CompletionRequest, asked: Asked, n: int) -> AsyncIterator[bytes]:
    told, number, made = StreamOptions() if body.stream_options is None else body.stream_options, f"cmpl-{call.id}", int(time.time())
    async with leased(call, body.model, asked.text) as (entry, version):
        name, mark = body.model or entry.name, version.loaded.id[:12]

        def event(choices: list[CompletionChoice], cost: Usage | None = None) -> bytes:
            whole = CompletionResponse(number, made, name, choices, system_fingerprint=mark, usage=cost if told.include_usage else UNSET)
            return b"data: " + msgspec.json.encode(whole) + b"\n\n"

        choosing, echoed, told_of = Choosing(call, entry, version, asked, n), set[int](), [0] * n
        async with aclosing(choosing.pieces(stream=True)) as pieces:  # type: ignore[type-var]
            async for index, piece in pieces:
                if body.echo and index not in echoed:
                    echoed.add(index)
                    yield event([CompletionChoice(asked.text, index)])
                if piece is None:
                    if choosing.done:
                        speaking.counted(call, entry, computed(choosing))
                    yield event([CompletionChoice("", index, choosing.said[index].finish)])
                elif piece.text or piece.chosen:
                    yield event([CompletionChoice(piece.text, index, logprobs=_tokens(piece.chosen, body.logprobs, told_of[index]))])
                    told_of[index] += sum(len(one.token) for one in piece.chosen)
        if told.include_usage:
            yield event([], usage(choosing))
        yield b"data: [DONE]\n\n"


def _tokens(chosen: Choices, top: int | None, at: int = 0) -> dict[str, Any] | None:
    """The tokens as completions tell them; `at` is where the first one begins in the text."""
    if top is None:
        return None
    offsets = []
    for one in chosen:
        offsets.append(at)
        at += len(one.token)
    return {"tokens": [one.token for one in chosen], "token_logprobs": [one.logprob for one in chosen],
            "top_logprobs": [dict(one.top[:top]) for one in chosen], "text_offset": offsets}


ROUTES = [Route("POST", "/v1/completions", complete, "What follows a text.", CompletionResponse, CompletionRequest, streams=True, errors=(404, 424))]
