"""A request's body: read up to its limit, decoded strictly, and refused in words that name the field."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from functools import cache
from typing import Any

import msgspec

from .problems import Problem, bad

DEPTH = 64
_WHERE = re.compile(r"^(.*) - at `\$\.?(.*)`$")
Receive = Callable[[], Awaitable[Any]]


async def read(receive: Receive, headers: dict[bytes, bytes], limit: int) -> bytes:
    """The whole body. Raises 413 before more than the limit is kept, 415 for what is not plain JSON, 400 where the client left."""
    checked(headers, limit)
    message = await receive()
    data = message.get("body", b"")
    if message.get("more_body"):
        parts, size = [data], len(data)
        while message.get("more_body"):
            message = await receive()
            parts.append(message.get("body", b""))
            size += len(parts[-1])
            if size > limit:
                raise _too_large(limit)
        data = b"".join(parts)
    if message["type"] == "http.disconnect":
        raise Problem(400, "client_left", "the request ended before its body", close=True)
    if len(data) > limit:
        raise _too_large(limit)
    return data


def checked(headers: dict[bytes, bytes], limit: int) -> None:
    """Raises 415 for a body that is not plain JSON, 413 for one that says it is too large."""
    if b"content-encoding" in headers and headers[b"content-encoding"].lower() != b"identity":
        raise Problem(415, "unsupported_encoding", "a body may not be packed (Content-Encoding)", close=True)
    if headers.get(b"content-type", b"").split(b";")[0].strip().lower() != b"application/json":
        raise Problem(415, "unsupported_media_type", "the Content-Type must be application/json", close=True)
    told = headers.get(b"content-length", b"0")
    if not told.isdigit() or len(told) > 18 or int(told) > limit:
        raise _too_large(limit)


def _too_large(limit: int) -> Problem:
    return Problem(413, "content_too_large", f"a body may have {limit:,} bytes (--body)", headers=((b"x-should-retry", b"false"),), close=True)


@cache
def _decoder(shape: Any) -> msgspec.json.Decoder:
    return msgspec.json.Decoder(shape)


def decoded(data: bytes, shape: Any) -> Any:
    """The body as its shape. Raises 400 that names the field; the body is never repeated."""
    if data.count(b"[") + data.count(b"{") > DEPTH and too_deep(data):
        raise bad(f"the body is nested more than {DEPTH} deep", code="too_deep")
    try:
        return _decoder(shape).decode(data)
    except msgspec.ValidationError as problem:
        said = _WHERE.match(str(problem))
        what, where = (said[1], said[2]) if said else (str(problem), "")
        unknown = re.match(r"Object contains unknown field `(.*)`", what, re.S)
        if unknown:
            name = ".".join(filter(None, [where, unknown[1][:100]]))
            raise bad(f"there is no field {name!r} here", param=name, code="unknown_field") from None
        raise bad(f"{where or 'the body'}: {_plain(what)}", param=where or None) from None
    except (ValueError, RecursionError):
        raise bad("the body is no valid JSON in UTF-8", code="invalid_json") from None


def _plain(what: str) -> str:
    return what[:300].replace("`", "")


def too_deep(data: bytes) -> bool:
    """Whether brackets outside of texts are nested more than DEPTH deep."""
    depth = 0
    for token in re.finditer(rb'"(?:[^"\\]|\\.)*+"|[\[{]|[\]}]', data, re.S):
        first = data[token.start()]
        if first in b"[{":
            depth += 1
            if depth > DEPTH:
                return True
        elif first in b"]}":
            depth -= 1
    return False


def seconds(headers: dict[bytes, bytes], most: float) -> float:
    """How long the client wants to wait (X-Timeout-Ms), at most what the server allows."""
    told = headers.get(b"x-timeout-ms")
    if told is None:
        return most
    if not told.isdigit() or len(told) > 9 or int(told) == 0:
        raise bad("X-Timeout-Ms is a whole number of milliseconds above 0", param="x-timeout-ms")
    return min(most, int(told) / 1e3)
