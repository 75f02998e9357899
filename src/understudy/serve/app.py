"""One request: checked, read, answered, counted. A plain ASGI application."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import re
import secrets
import time
from collections.abc import AsyncIterator
from itertools import count
from typing import Any

import msgspec

from . import body as bodies
from .call import Call, Raw, Route, Service, Stream
from .guard import Guard
from .logs import LONGEST, Log
from .problems import Problem, problem_of
from .routes import Router

_ID = re.compile(rb"[A-Za-z0-9._-]{1,64}")
_JSON, _NOSNIFF = (b"content-type", b"application/json"), (b"x-content-type-options", b"nosniff")
_CLOSE = (b"connection", b"close")
_LEFT = 499
_ALONE = Route("GET", "(none)", None, "", None)  # type: ignore[arg-type]
"""Stands for the route where there is none, in figures."""
trouble = logging.getLogger("understudy.serve")
encode = msgspec.json.Encoder().encode


class App:
    """The application. `log` is None where requests are not logged."""

    def __init__(self, service: Service, guard: Guard, log: Log | None, router: Router | None = None) -> None:
        self.service, self.guard, self.log, self.router = service, guard, log, router or Router()
        self._prefix, self._count = secrets.token_hex(4), count(1)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        connection = scope.get("connection")
        if connection is not None:
            connection.task = asyncio.current_task()
        metrics = self.service.metrics
        metrics.in_flight += 1
        answer = Answering(self, scope, receive, send)
        try:
            await answer.run()
        except asyncio.CancelledError:
            # The client left, or the time for shutting down is over: nobody waits for an answer.
            answer.status = _LEFT
            metrics.left.inc()
        finally:
            metrics.in_flight -= 1
            if connection is not None:
                connection.task = None
            self.told(scope["method"], answer.route, answer.call, answer.number, answer.status, answer.code, answer.began)

    def number(self, given: bytes | None) -> str:
        """The id of a request: the client's own where it is a plain one."""
        if given is not None and _ID.fullmatch(given):
            return given.decode()
        return f"{self._prefix}-{next(self._count)}"

    def told(self, method: str, route: Route, call: Call | None, number: str, status: int, code: str, began: float) -> None:
        """Counts and logs a request that has ended."""
        seconds = time.monotonic() - began
        notes = call.notes if call is not None else {}
        self.service.metrics.told(route.path, status, seconds, notes.get("model"))
        told = {"time": round(time.time(), 3), "event": "request", "id": number, "method": method, "route": route.path, "status": status, "ms": round(seconds * 1e3, 3)}
        if code:
            told["code"] = code
        if call is not None and call.key:
            told["key"] = call.key
        notes.pop("tail", None)
        told |= notes
        if route.scope in ("infer", "admin"):
            self.service.recent.append(told)
        if self.log is not None:
            self.log.take(told)


class Answering:
    """The state of one request while it is answered."""

    def __init__(self, app: App, scope: Any, receive: Any, send: Any) -> None:
        self.app, self.scope, self.receive, self.send = app, scope, receive, send
        self.began, self.route, self.call = time.monotonic(), _ALONE, None  # type: tuple[float, Route, Call | None]
        self.status, self.code, self.number = 0, "", ""
        self.extra: list[tuple[bytes, bytes]] = []

    async def run(self) -> None:
        """Answers, whatever happens."""
        headers: dict[bytes, bytes] = {}
        hosts = []
        for name, value in self.scope["headers"]:
            if name == b"host":
                hosts.append(value)
            headers[name] = value
        self.number = self.app.number(headers.get(b"x-request-id"))
        try:
            said = await self._answered(headers, hosts)
            if isinstance(said, Stream):
                await self._streamed(said)
            elif isinstance(said, Raw):
                await self._sent(200, said.data, ((b"content-type", said.kind.encode()), *said.headers))
            else:
                await self._sent(200, encode(said), (_JSON,))
        except Exception as error:
            await self._failed(error)

    async def _answered(self, headers: dict[bytes, bytes], hosts: list[bytes]) -> Any:
        app, service = self.app, self.app.service
        method, path = self.scope["method"], self.scope["path"]
        app.guard.host(hosts)
        origin = app.guard.origin(headers.get(b"origin"), headers.get(b"sec-fetch-site"), hosts[0])
        if origin is not None:
            self.extra += [(b"access-control-allow-origin", origin), (b"vary", b"Origin")]
            if method == "OPTIONS" and app.router.methods(path):
                return self._preflight(path)
        self.route, tail = app.router.find(method, path)
        key = app.guard.key(self.route, headers.get(b"authorization"), headers.get(b"x-api-key"), (self.scope.get("client") or ("",))[0])
        call = self.call = Call(service, self.number, self.began + bodies.seconds(headers, service.config.timeout), key.name if key else None)
        if tail:
            call.notes["tail"] = tail
        body = None
        if self.route.body is not None:
            data = await bodies.read(self.receive, headers, service.config.body)
            body = bodies.decoded(data, self.route.body)
            if service.config.log_text:
                call.notes["text"] = data.decode("utf-8", "replace")[:LONGEST]
        return await self.route.handler(call, body)

    def _preflight(self, path: str) -> Raw:
        self.extra += [(b"access-control-allow-methods", ", ".join(self.app.router.methods(path)).encode()),
                       (b"access-control-allow-headers", b"authorization, content-type, x-api-key, x-request-id, x-timeout-ms"),
                       (b"access-control-max-age", b"600")]
        return Raw(b"", "text/plain")

    async def _sent(self, status: int, data: bytes, headers: tuple[tuple[bytes, bytes], ...]) -> None:
        self.status = status
        start = [*headers, (b"content-length", b"%d" % len(data)), (b"x-request-id", self.number.encode()), _NOSNIFF, *self.extra]
        await self.send({"type": "http.response.start", "status": status, "headers": start})
        await self.send({"type": "http.response.body", "body": data})

    async def _streamed(self, said: Stream) -> None:
        """Events as they come. What goes wrong before the first one is an answer of its own, later an event that ends the stream."""
        async with contextlib.aclosing(_first_then(said.events)) as events:  # type: ignore[type-var]
            first = await anext(events)
            self.status = 200
            start = [(b"content-type", b"text/event-stream"), (b"cache-control", b"no-cache"), (b"x-request-id", self.number.encode()), _NOSNIFF, *self.extra]
            await self.send({"type": "http.response.start", "status": 200, "headers": start})
            await self.send({"type": "http.response.body", "body": first, "more_body": True})
            try:
                async for event in events:
                    await self.send({"type": "http.response.body", "body": event, "more_body": True})
            except Exception as error:
                problem = self._understood(error)
                await self.send({"type": "http.response.body", "body": b"data: " + encode(problem.body("openai")) + b"\n\n", "more_body": True})
            await self.send({"type": "http.response.body", "body": b""})

    def _understood(self, error: Exception) -> Problem:
        problem = problem_of(error)
        self.code = problem.code
        if problem.status >= 500 and not isinstance(error, Problem) and problem.code not in ("server_overloaded", "timeout"):
            known = problem.code != "internal_error"
            trouble.error("request %s: %s: %s", self.number, type(error).__name__, error, exc_info=None if known else error)
        return problem

    async def _failed(self, error: Exception) -> None:
        problem = self._understood(error)
        if problem.status == 401:
            # A key that is wrong costs a moment, so that trying many takes long; others are served meanwhile.
            await asyncio.sleep(0.05)
        close = (_CLOSE,) if problem.close else ()
        await self._sent(problem.status, encode(problem.body(self.route.shape)), (_JSON, *problem.headers, *close))


async def _first_then(events: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    async with contextlib.aclosing(events):  # type: ignore[type-var]
        async for event in events:
            yield event
