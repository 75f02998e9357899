"""One question to the large model over HTTP: a connection of its own, no redirect followed, no proxy, nothing unpacked, a bounded answer.

httptools reads what comes, as it does for the server's own side. A large model takes seconds, so a connection is not worth keeping.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import time
from collections.abc import AsyncIterator, Callable
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import httptools

from ..._version import __version__
from ..places import forbidden
from .trouble import Trouble

if TYPE_CHECKING:
    from ssl import SSLContext

ANSWER, STREAM, _HEAD, _PIECE = 1_000_000, 16_000_000, 32_768, 65_536
"""Bytes: of an answer (and of one event), of a stream in all, of headers, and that are read at a time."""
_CONNECT = 5.0
"""Seconds that a connection may take."""
log = logging.getLogger("understudy.serve")


class Target:
    """Where the large model is. Holds the key, and is never shown."""

    __slots__ = ("_head", "host", "port", "private", "secure")

    def __init__(self, url: str, key: str | None, private: bool = False) -> None:
        parts = urlsplit(url)
        self.host, self.private, tls = parts.hostname or "", private, parts.scheme == "https"
        self.port = parts.port or (443 if tls else 80)
        self.secure: SSLContext | None = None
        if tls:
            import ssl

            self.secure = ssl.create_default_context()
        lines = [f"POST {parts.path.rstrip('/')}/chat/completions HTTP/1.1", f"host: {parts.netloc}", f"user-agent: understudy/{__version__}",
                 "content-type: application/json", "accept: application/json, text/event-stream", "accept-encoding: identity", "connection: close",
                 *([f"authorization: Bearer {key}"] if key else [])]
        self._head = "\r\n".join(lines).encode("ascii")

    def request(self, body: bytes) -> bytes:
        """The whole question as bytes."""
        return b"%s\r\ncontent-length: %d\r\n\r\n%s" % (self._head, len(body), body)


class Reply:
    """An answer whose headers are there. `read` gives its body piece by piece."""

    def __init__(self, reader: asyncio.StreamReader) -> None:
        self._reader, self._parser = reader, httptools.HttpResponseParser(self)
        self.status, self.headers = 0, {}  # type: tuple[int, dict[bytes, bytes]]
        self._parts: list[bytes] = []
        self._size = self._read = 0
        self._begun = self._whole = False

    def on_header(self, name: bytes, value: bytes) -> None:
        """One header."""
        self.headers[name.lower()] = value

    def on_headers_complete(self) -> None:
        """All of them; those of 1xx announce others, and a second answer after the first is none."""
        if self._whole:
            raise ValueError
        self.status = self._parser.get_status_code()
        self._begun = self.status >= 200
        if not self._begun:
            self.headers = {}

    def on_body(self, body: bytes) -> None:
        """A piece of the body."""
        self._parts.append(body)
        self._size += len(body)

    def on_message_complete(self) -> None:
        """The answer is whole, if it was one."""
        self._whole = self._begun

    async def begin(self, until: float) -> None:
        """Waits for the headers. Raises Trouble."""
        while not self._begun:
            if self._read > _HEAD:
                raise Trouble("nonsense")
            await self._more(until)

    async def read(self, until: float, most: int = ANSWER) -> bytes:
        """The next piece; empty at the end. `until` is of the monotonic clock. Raises Trouble, where the connection ends too early too."""
        while not self._parts and not self._whole:
            await self._more(until)
            if self._read > 2 * most:  # chunks of nothing but their own marks
                raise Trouble("too_large")
        if self._size > most:
            raise Trouble("too_large")
        data, self._parts = b"".join(self._parts), []
        return data

    async def whole(self, until: float) -> bytes:
        """All of the body."""
        parts = []
        while part := await self.read(until):
            parts.append(part)
        return b"".join(parts)

    async def _more(self, until: float) -> None:
        try:
            async with asyncio.timeout(max(0.0, until - time.monotonic())):
                data = await self._reader.read(_PIECE)
        except TimeoutError:
            raise Trouble("late") from None
        except OSError:
            raise Trouble("cut") from None
        self._read += len(data)
        try:
            if data:
                self._parser.feed_data(data)
            elif self._begun and b"content-length" not in self.headers and b"transfer-encoding" not in self.headers:
                self._whole = True  # its body lasts until the connection ends
            else:
                raise Trouble("cut")
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            raise Trouble("nonsense") from None


@contextlib.asynccontextmanager
async def exchanged(target: Target, body: bytes, until: float, sending: Callable[[], None]) -> AsyncIterator[Reply]:
    """Asks; the connection ends with the block, whatever happens in it. `sending` is called right before the first byte goes out. Raises Trouble."""
    writer = None
    try:
        reader, writer = await _connected(target, until)
        sending()
        try:
            async with asyncio.timeout(max(0.0, until - time.monotonic())):
                writer.write(target.request(body))
                await writer.drain()
        except TimeoutError:
            raise Trouble("late") from None
        except OSError:
            raise Trouble("cut") from None
        reply = Reply(reader)
        await reply.begin(until)
        yield reply
    finally:
        if writer is not None:
            writer.transport.abort()  # nobody waits for the rest: the other side is to notice at once


async def _connected(target: Target, until: float) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    left = until - time.monotonic()
    more: dict[str, Any] = {"ssl": target.secure, "server_hostname": target.host} if target.secure else {}
    try:
        async with asyncio.timeout(max(0.0, min(_CONNECT, left))):
            sock = await _reached(target)
            try:
                return await asyncio.open_connection(sock=sock, limit=_PIECE, **more)
            except BaseException:
                sock.close()
                raise
    except TimeoutError:
        raise Trouble("late" if left <= _CONNECT else "unreachable", again=left > _CONNECT) from None
    except (OSError, UnicodeError):
        raise Trouble("unreachable", again=True) from None


async def _reached(target: Target) -> socket.socket:
    """A connection on which nothing was said yet, not even the first word of TLS. Raises OSError, and Trouble where it would lead where it may not."""
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(target.host, target.port, type=socket.SOCK_STREAM)
    for *_, address in found:
        _allowed(target, address)
    problem: OSError | None = None
    for family, kind, proto, _, address in found:
        sock = None
        try:
            sock = socket.socket(family, kind, proto)
            sock.setblocking(False)
            await loop.sock_connect(sock, address)
            _allowed(target, sock.getpeername())  # who is really there, whatever was asked for
            return sock
        except BaseException as said:
            if sock is not None:
                sock.close()
            if not isinstance(said, OSError):
                raise
            problem = said
    raise problem or OSError("no address")


def _allowed(target: Target, address: tuple[Any, ...]) -> None:
    why = forbidden(target.host, address[0], target.private)
    if why is not None:
        log.warning("the large model was not asked: %s leads to %s, which %s", target.host, address[0], why)
        raise Trouble("elsewhere")
