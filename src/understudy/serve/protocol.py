"""One connection, and what it may take: sizes, counts and times. uvicorn's own protocol waits for ever for a client that is slow.

    headers  32 KiB in all, 100 of them, a path of 8 KiB, within header_timeout
    body     within body_timeout in all, in at most 65,536 pieces
    answer   a client that does not read is let go after stall_timeout

A small request is kept until it is whole: where it can be answered without waiting for anything, it is, and no task is made for it.
One whose head is the last one's but for the length is not parsed again: most clients send the same head over and over.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from .again import Head, head_of
from .call import Headers, Passed
from .shortcut import Shortcut, Small

if TYPE_CHECKING:
    from .config import ServeConfig
    from .metrics import Metrics

HEAD_BYTES, HEADERS, URL_BYTES, PIECES, SMALL = 32_768, 100, 8192, 65_536, 4096
_REASONS = {400: b"Bad Request", 408: b"Request Timeout", 414: b"URI Too Long", 431: b"Request Header Fields Too Large", 503: b"Service Unavailable"}
_BEGINS = {(status, keep): b"HTTP/1.1 %d %s\r\n%s" % (status, reason, b"" if keep else b"connection: close\r\n")
           for status, reason in {200: b"OK", **_REASONS}.items() for keep in (True, False)}
_SAYS = {400: ("invalid_http", "this is no request that can be read"), 408: ("request_timeout", "the request took too long to arrive"),
         414: ("uri_too_long", f"a path may have {URL_BYTES} bytes"), 431: ("headers_too_large", f"headers may have {HEAD_BYTES} bytes, and be {HEADERS}"),
         503: ("server_overloaded", "as many connections as may be are open")}


class Connection(HttpToolsProtocol):
    """A connection with limits; what stands here is set by `limited`."""

    settings: ServeConfig
    metrics: Metrics
    shortcut: Shortcut
    date: tuple[Any, bytes] = (None, b"")
    """uvicorn's default headers and the same as bytes; made anew once a second."""

    def __init__(self, *args: Any, **named: Any) -> None:
        super().__init__(*args, **named)
        self.task: asyncio.Task[None] | None = None
        self._until = self._stalled = self._idle = 0.0
        self._head = self._headers = self._pieces = 0
        self._in_head, self._refusal = True, 400
        self._small: bytes | None = None
        self._ending = False
        self._given: Headers = []
        self._length = b""
        self._number: bytes | None = None
        self._passed: Passed | None = None
        self._asked: Small | None = None
        self._keep = self._between = True
        self._again: Head | None = None
        self._raw, self._long = b"", False
        self._known: bytes | None = None

    def connection_made(self, transport: Any) -> None:
        """A client has come; one too many is told so and goes."""
        super().connection_made(transport)
        self._until = self.loop.time() + self.settings.header_timeout
        if len(self.connections) > self.settings.connections:
            self.refuse(503)

    def connection_lost(self, exc: Exception | None) -> None:
        """The client has gone: what works for it is cancelled."""
        super().connection_lost(exc)
        if self.task is not None:
            self.task.cancel()

    def data_received(self, data: bytes) -> None:
        """Bytes have come."""
        self._idle = 0.0
        if self.timeout_keep_alive_task is not None:
            self._unset_keepalive_if_required()
        if self.parser is None or self.transport.is_closing():
            return
        if self._known is not None and self._asked is not None:
            self.shortcut.now(self._asked)  # it may have to be parsed, before what follows it
        body = self._repeated(data)
        if body is not None:
            self._known = data
            self._ask(body, None)
            return
        self._feed(data)

    def _feed(self, data: bytes) -> None:
        self._raw = data
        if not self._until and (self.cycle is None or self.cycle.response_complete):
            self._until, self._in_head, self._head = self.loop.time() + self.settings.header_timeout, True, 0
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            return
        except httptools.HttpParserError:
            self.refuse(self._refusal)
            return
        finally:
            self._raw = b""
        if self._in_head:
            self._head += len(data)
            if self._head > HEAD_BYTES:
                self.refuse(431)

    def on_message_begin(self) -> None:
        """A request begins."""
        self._between = False
        if self._asked is not None:
            self.shortcut.now(self._asked)
        self.url, self.expect_100_continue, self.headers = b"", False, []
        self._given, self._length, self._number = [], b"", None
        self._headers, self._head, self._in_head, self._pieces = 0, 0, True, 0

    def on_url(self, url: bytes) -> None:
        """A part of the path."""
        self.url += url
        if len(self.url) > URL_BYTES:
            self._stop(414)

    def on_header(self, name: bytes, value: bytes) -> None:
        """One header."""
        name = name.lower()
        one = (name, value)
        self.headers.append(one)
        if name == b"content-length":
            self._length = value
        elif name == b"x-request-id":
            self._number = value
        else:
            self._given.append(one)
            if name == b"expect" and value.lower() == b"100-continue":
                self.expect_100_continue = True
        self._headers += 1
        self._head += len(name) + len(value)
        if self._headers > HEADERS or self._head > HEAD_BYTES:
            self._stop(431)

    def on_headers_complete(self) -> None:
        """All headers are there; the body's time begins."""
        self._in_head, self._until = False, self.loop.time() + self.settings.body_timeout
        if not self._long and self._may_be_small():
            self._small = b""
        else:
            self._begun()

    def on_body(self, body: bytes) -> None:
        """A part of the body."""
        self._pieces += 1
        if self._pieces > PIECES:
            self._stop(400)
        if self._small is None:
            super().on_body(body)
            return
        self._small += body
        if len(self._small) > SMALL:
            self._whole_way()

    def on_message_complete(self) -> None:
        """The request is whole: from here on the client waits for us."""
        self._until, self._between = 0.0, True
        if self._small is None:
            super().on_message_complete()
            return
        passed, self._keep = self._passed, self.parser.should_keep_alive()
        if passed is None or passed.headers != self._given or passed.url != self.url:
            passed = self._passed = self.shortcut.passed(self.url, self._given)
        if passed is None:
            self._said(None)
        else:
            self._again = None if self._number is not None else head_of(self._raw, len(self._small))
            self._ask(self._small, self._number)

    def _repeated(self, data: bytes) -> bytes | None:
        """The body of a small request that has the head of the last one; None for any other, and where something is under way."""
        if (self._again is None or not self._between or self._ending or self._small is not None or self.flow.write_paused
                or not (self.cycle is None or self.cycle.response_complete)):
            return None
        body = self._again.body(data)
        return body if body is None or len(body) <= SMALL else None

    def _ask(self, body: bytes, number: bytes | None) -> None:
        assert self._passed is not None
        if (no := self.shortcut.refusals.answer(self._passed, number, body)) is not None:
            self._said((503, no))
            return
        self._asked = Small(self._passed, number, body, self._said)
        self.shortcut.ask(self._asked)

    def _said(self, answer: tuple[int, bytes] | None) -> None:
        """The short cut's answer, or None: then the request goes the whole way."""
        self._asked = None
        if self.transport.is_closing():
            self._small = None
        elif answer is not None:
            self._small = self._known = None
            self._answered(*answer)
        elif self._known is not None:
            # Not parsed yet: it is now, and not taken for a small one.
            data, self._known, self._long = self._known, None, True
            self._feed(data)
            self._long = False
        else:
            self._whole_way()
            self.cycle.keep_alive = self.cycle.keep_alive and self._keep
            super().on_message_complete()

    def _may_be_small(self) -> bool:
        """Whether this request could be answered at once, when its body is there: nothing else is under way on the connection."""
        length, parser = self._length, self.parser
        return (length.isdigit() and len(length) < 5 and int(length) <= SMALL and parser.get_method() == b"POST"
                and not (self._ending or self.expect_100_continue or parser.should_upgrade() or self.flow.write_paused
                         or (self.cycle is not None and not self.cycle.response_complete)) and parser.get_http_version() == "1.1")

    def _begun(self) -> None:
        """Tells the application that a request has begun."""
        url, headers, expected = self.url, self.headers, self.expect_100_continue
        super().on_message_begin()  # makes the scope, which a small request needs none of
        self.url, self.expect_100_continue = url, expected
        self.headers += headers
        self.scope["connection"] = self  # type: ignore[typeddict-unknown-key]
        super().on_headers_complete()

    def _whole_way(self) -> None:
        """Hands the request on to the application, as if it had just begun to arrive."""
        data, self._small = self._small, None
        self._begun()
        if data:
            super().on_body(data)

    def _answered(self, status: int, rest: bytes) -> None:
        """Writes an answer, and waits for the next request as uvicorn does after its own."""
        kind, state = type(self), self.server_state
        if kind.date[0] is not state.default_headers:
            kind.date = (state.default_headers, b"".join(b"%s: %s\r\n" % pair for pair in state.default_headers))
        state.total_requests += 1
        keep = self._keep and not self._ending
        self.transport.write(_BEGINS[status, keep] + kind.date[1] + rest)
        if keep:
            self._idle = self.loop.time() + self.timeout_keep_alive
        else:
            self.transport.close()

    def shutdown(self) -> None:
        """The service ends: what runs is finished, a request that is still arriving is answered, an idle connection goes."""
        self._ending = True
        if self._asked is not None:
            self.shortcut.now(self._asked)
        if self._small is not None:
            self._whole_way()
        super().shutdown()

    def pause_writing(self) -> None:
        """The client does not read as fast as is written."""
        super().pause_writing()
        self._stalled = self.loop.time() + self.settings.stall_timeout

    def resume_writing(self) -> None:
        """It reads again."""
        super().resume_writing()
        self._stalled = 0.0

    def look(self, now: float) -> None:
        """Ends the connection where its time is over; called for all of them, a few times a second."""
        if self._stalled and now > self._stalled:
            self.metrics.stalled.labels("does not read").inc()
            self.transport.abort()
        elif self._idle and now > self._idle:
            self.transport.close()
        elif self._until and now > self._until:
            self._until = 0.0
            self.metrics.stalled.labels("too slow").inc()
            self.refuse(408)

    def refuse(self, status: int) -> None:
        """Says why in the one shape of errors, and closes; a client that is in the middle of an answer is cut off."""
        if self.cycle is not None and self.cycle.response_started and not self.cycle.response_complete:
            self.transport.abort()
            return
        code, says = _SAYS[status]
        body = b'{"error":{"message":"%s","type":"invalid_request_error","param":null,"code":"%s"}}' % (says.encode(), code.encode())
        again = b"retry-after: 1\r\n" if status == 503 else b""
        self.transport.write(b"HTTP/1.1 %d %s\r\ncontent-type: application/json\r\ncontent-length: %d\r\n%sconnection: close\r\n\r\n%s"
                             % (status, _REASONS[status], len(body), again, body))
        if self.task is not None:
            self.task.cancel()
        self.transport.close()

    def _stop(self, status: int) -> None:
        self._refusal = status
        raise ValueError(status)


def limited(settings: ServeConfig, metrics: Metrics, shortcut: Shortcut) -> type[Connection]:
    """The protocol class of a server with these settings."""
    return type("LimitedConnection", (Connection,), {"settings": settings, "metrics": metrics, "shortcut": shortcut})
