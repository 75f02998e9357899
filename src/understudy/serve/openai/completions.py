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
from ..speaking import Asked, Said
from .sampling import Choices, One, Shared, StreamOptions, Usage, usage_of


class CompletionRequest(Shared, forbid_unknown_fields=True, kw_only=True):
    """A text to go on from, or several."""

    prompt: str | list[str]
    logprobs: Annotated[int, Meta(ge=0, le=20)] | None = None
    echo: bool | None = None
    best_of: One | None = None


class CompletionChoice(Struct):
    """What follows the prompt of the same index."""

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
    if body.echo:
        raise bad("echo is not done here", param="echo")
    prompts = answers.listed(body.prompt, call, "prompt")
    asked = [Asked(None, prompt, body.sampling(), body.logprobs) for prompt in prompts]
    if body.stream:
        if len(asked) > 1:
            raise bad("a stream answers one prompt", param="prompt")
        return Stream(_events(call, body, asked[0]))
    whole, choices = Said(), []
    async with leased(call, body.model, prompts[0]) as (entry, version):
        for index, one in enumerate(asked):
            said = await speaking.whole(call, entry, version, one)
            choices.append(CompletionChoice(said.text, index, said.finish, _tokens(said.chosen, body.logprobs)))
            whole.prompt_tokens += said.prompt_tokens
            whole.tokens += said.tokens
        speaking.counted(call, entry, whole)
        return CompletionResponse(f"cmpl-{call.id}", int(time.time()), body.model or entry.name, choices, system_fingerprint=version.loaded.id[:12],
                                  usage=usage_of(whole))


async def _events(call: Call, body: CompletionRequest, asked: Asked) -> AsyncIterator[bytes]:
    said, told, number, made = Said(), StreamOptions() if body.stream_options is None else body.stream_options, f"cmpl-{call.id}", int(time.time())
    async with leased(call, body.model, asked.text) as (entry, version):
        name, mark = body.model or entry.name, version.loaded.id[:12]

        def event(choices: list[CompletionChoice], usage: Usage | None = None) -> bytes:
            whole = CompletionResponse(number, made, name, choices, system_fingerprint=mark, usage=usage if told.include_usage else UNSET)
            return b"data: " + msgspec.json.encode(whole) + b"\n\n"

        async with aclosing(speaking.speak(call, entry, version, asked, stream=True)) as pieces:  # type: ignore[type-var]
            async for piece in pieces:
                said.add(piece)
                if piece.text or piece.chosen:
                    yield event([CompletionChoice(piece.text, logprobs=_tokens(piece.chosen, body.logprobs))])
        speaking.counted(call, entry, said)
        yield event([CompletionChoice("", finish_reason=said.finish)])
        if told.include_usage:
            yield event([], usage_of(said))
        yield b"data: [DONE]\n\n"


def _tokens(chosen: Choices, top: int | None) -> dict[str, Any] | None:
    if top is None:
        return None
    offsets, at = [], 0
    for one in chosen:
        offsets.append(at)
        at += len(one.token)
    return {"tokens": [one.token for one in chosen], "token_logprobs": [one.logprob for one in chosen],
            "top_logprobs": [dict(one.top[:top]) for one in chosen], "text_offset": offsets}


ROUTES = [Route("POST", "/v1/completions", complete, "What follows a text.", CompletionResponse, CompletionRequest, streams=True, errors=(404, 424))]
