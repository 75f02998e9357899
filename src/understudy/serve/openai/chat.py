"""/v1/chat/completions."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType, field

from .. import speaking
from ..answers import leased
from ..call import Call, Raw, Route, Stream
from ..problems import bad
from ..speaking import Asked
from .choices import Choosing, bounded, computed, usage
from .sampling import Choices, Common, Format, Shared, StreamOptions, Usage, chosen_tokens, schema_of

_encode = msgspec.json.encode


class TextPart(Struct, forbid_unknown_fields=True):
    """A part of a message: text is what these models read."""

    text: str
    type: Literal["text"] = "text"


class Message(Struct, forbid_unknown_fields=True):
    """One turn."""

    role: Literal["system", "developer", "user", "assistant"]
    content: str | list[TextPart]
    name: str | None = None


class ChatRequest(Shared, forbid_unknown_fields=True, kw_only=True):
    """A conversation to answer. A model that was not made for conversations answers what the user said last."""

    messages: Annotated[list[Message], Meta(min_length=1, max_length=1000)]
    max_completion_tokens: Common | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Meta(ge=0, le=20)] | None = None
    response_format: Format | None = None


class Answer(Struct):
    """What the assistant says."""

    content: str
    role: str = "assistant"
    refusal: str | None = None


class ChatChoice(Struct):
    """The answer, and how it ended: stop or length."""

    message: Answer
    finish_reason: str
    index: int = 0
    logprobs: dict[str, Any] | None = None


class ChatResponse(Struct):
    """A whole answer."""

    id: str
    created: int
    model: str
    choices: list[ChatChoice]
    usage: Usage
    object: str = "chat.completion"
    system_fingerprint: str | None = None


class Delta(Struct, omit_defaults=True):
    """What comes next of an answer."""

    role: str | None = None
    content: str | None = None


class ChunkChoice(Struct):
    """The next piece, or how the answer ended."""

    delta: Delta
    finish_reason: str | None = None
    index: int = 0
    logprobs: dict[str, Any] | None = None


class Chunk(Struct):
    """One event of a stream."""

    id: str
    created: int
    model: str
    choices: list[ChunkChoice]
    object: str = "chat.completion.chunk"
    system_fingerprint: str | None = None
    usage: Usage | UnsetType | None = field(default=UNSET)


async def chat(call: Call, body: ChatRequest) -> ChatResponse | Raw | Stream:
    """The assistant's next turn."""
    if body.stream_options is not None and not body.stream:
        raise bad("stream_options needs stream", param="stream_options")
    if body.top_logprobs and not body.logprobs:
        raise bad("top_logprobs needs logprobs", param="top_logprobs")
    large = call.service.large
    if large is not None and body.model == large.model:
        from ..large.passing import passed

        return await passed(call, large, _given(body))
    messages = [{"role": "system" if one.role == "developer" else one.role, "content": _text(one.content)} for one in body.messages]
    sampling = body.sampling()
    if body.max_completion_tokens is not None:
        sampling["max_tokens"] = body.max_completion_tokens
    schema = schema_of(body.response_format)
    if schema is not None:
        sampling["json_schema"] = schema
    asked = Asked(messages, speaking.last_words(messages), sampling, max(1, body.top_logprobs or 0) if body.logprobs else None)
    n = bounded(call, body.n)
    if body.stream:
        return Stream(_events(call, body, asked, n))
    async with leased(call, body.model, asked.text) as (entry, version):
        choosing = Choosing(call, entry, version, asked, n)
        choices = [ChatChoice(Answer(said.text), said.finish, index, _tokens(body, said.chosen)) for index, said in enumerate(await choosing.whole())]
        speaking.counted(call, entry, computed(choosing))
        return ChatResponse(f"chatcmpl-{call.id}", int(time.time()), body.model or entry.name, choices, usage(choosing), system_fingerprint=version.loaded.id[:12])


async def _events(call: Call, body: ChatRequest, asked: Asked, n: int) -> AsyncIterator[bytes]:
    told, number, made = StreamOptions() if body.stream_options is None else body.stream_options, f"chatcmpl-{call.id}", int(time.time())
    async with leased(call, body.model, asked.text) as (entry, version):
        name, mark = body.model or entry.name, version.loaded.id[:12]

        def event(choices: list[ChunkChoice], cost: Usage | UnsetType | None = None) -> bytes:
            chunk = Chunk(number, made, name, choices, system_fingerprint=mark, usage=cost if told.include_usage else UNSET)
            return b"data: " + _encode(chunk) + b"\n\n"

        choosing, begun = Choosing(call, entry, version, asked, n), set[int]()
        async with aclosing(choosing.pieces(stream=True)) as pieces:  # type: ignore[type-var]
            async for index, piece in pieces:
                if index not in begun:
                    begun.add(index)
                    yield event([ChunkChoice(Delta("assistant", ""), index=index)])
                if piece is None:
                    if choosing.done:
                        speaking.counted(call, entry, computed(choosing))
                    yield event([ChunkChoice(Delta(), choosing.said[index].finish, index)])
                elif piece.text or piece.chosen:
                    yield event([ChunkChoice(Delta(content=piece.text), index=index, logprobs=_tokens(body, piece.chosen))])
        if told.include_usage:
            yield event([], usage(choosing))
        yield b"data: [DONE]\n\n"


def _tokens(body: ChatRequest, chosen: Choices) -> dict[str, Any] | None:
    return {"content": chosen_tokens(chosen, body.top_logprobs or 0), "refusal": None} if body.logprobs else None


def _given(value: Any) -> Any:
    """What a request gives, without the fields that it leaves out; what a client wrote itself (a JSON schema) stays as it is."""
    if isinstance(value, Struct):
        return {name: _given(one) for name in value.__struct_fields__ if (one := getattr(value, name)) is not None}
    return [_given(one) for one in value] if isinstance(value, list) else value


def _text(content: str | list[TextPart]) -> str:
    return content if isinstance(content, str) else "\n".join(part.text for part in content)


ROUTES = [Route("POST", "/v1/chat/completions", chat, "The assistant's next turn; a classifier says its label, a summariser its summary.",
                ChatResponse, ChatRequest, streams=True, errors=(404, 424, 502))]
