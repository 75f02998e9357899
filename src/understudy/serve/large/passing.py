"""A conversation with the large model itself, passed on as it is; what comes back is checked, and never begun a second time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import aclosing
from typing import Any

import msgspec

from ..answers import LARGE
from ..call import Call, Raw, Stream
from .ahead import Ahead
from .client import Large
from .labels import read_answer
from .trouble import Trouble
from .wire import ANSWER, STREAM, Reply

_DONE = b"data: [DONE]\n\n"


async def passed(call: Call, large: Large, question: Mapping[str, Any]) -> Raw | Stream:
    """The large model's answer to a chat request. Raises Trouble where it has none; in a stream that has begun, it ends with that."""
    call.notes["model"], call.notes["rung"] = large.model, LARGE
    if question.get("stream"):
        return Stream(_events(call, large, question))
    until = large.until(call.deadline)
    try:
        async with large.answering(question, until) as reply:
            told = read_answer(await reply.whole(until))
    except Trouble as trouble:
        call.notes["large"] = trouble.why
        raise
    return Raw(msgspec.json.encode(told), "application/json")


async def _events(call: Call, large: Large, question: Mapping[str, Any]) -> AsyncIterator[bytes]:
    ahead = Ahead(call.service.config.stall_timeout)
    hearing = asyncio.create_task(_heard(call, large, question, ahead))
    try:
        while (event := await ahead.next()) is not None:
            yield event
    finally:
        hearing.cancel()
        await asyncio.gather(hearing, return_exceptions=True)
    yield _DONE


async def _heard(call: Call, large: Large, question: Mapping[str, Any], ahead: Ahead) -> None:
    """Hears the whole answer out, however the client reads."""
    try:
        async with large.answering(question, large.until(call.deadline)) as reply, aclosing(_chunks(reply, large, call.deadline)) as chunks:  # type: ignore[type-var]
            async for chunk in chunks:
                await ahead.put(b"data: " + msgspec.json.encode(chunk) + b"\n\n", call.deadline)
    except Exception as problem:
        if isinstance(problem, Trouble):
            call.notes["large"] = problem.why
        ahead.end(problem)
    else:
        ahead.end()


async def _chunks(reply: Reply, large: Large, deadline: float) -> AsyncIterator[dict[str, Any]]:
    """The events of a stream up to its end. Raises Trouble for one that breaks off, says that it failed, or has none."""
    begun = finished = False
    async with aclosing(_data(reply, large, deadline)) as events:  # type: ignore[type-var]
        async for data in events:
            if data == b"[DONE]":
                finished = True
                break
            chunk = _chunk(data)
            begun = True
            finished = finished or any(isinstance(one, dict) and one.get("finish_reason") for one in chunk["choices"])
            yield chunk
    if not begun:
        raise Trouble("nonsense")
    if not finished:
        raise Trouble("cut")


def _chunk(data: bytes) -> dict[str, Any]:
    try:
        chunk = msgspec.json.decode(data)
    except (ValueError, RecursionError):
        raise Trouble("nonsense") from None
    if isinstance(chunk, dict) and chunk.get("error"):
        raise Trouble("failing")
    if not isinstance(chunk, dict) or not isinstance(chunk.get("choices"), list):
        raise Trouble("nonsense")
    return chunk


async def _data(reply: Reply, large: Large, deadline: float) -> AsyncIterator[bytes]:
    """What the lines `data: …` say. Events of several such lines are no answer in this shape, and comments are left out."""
    waiting = b""
    while True:
        until = min(time.monotonic() + large.seconds, deadline)
        try:
            piece = await reply.read(until, STREAM)
        except Trouble as trouble:
            if trouble.why == "late" and until == deadline:
                trouble.outage = None  # it still spoke: the time of the request is over
            raise
        *lines, waiting = (waiting + piece).split(b"\n")
        for line in lines if piece else [*lines, waiting]:
            if line.startswith(b"data:"):
                yield line[5:].strip()
        if not piece:
            return
        if len(waiting) > ANSWER:
            raise Trouble("too_large")
