"""Latency against rate: a server of its own, first as fast as it can, then at shares of that.

Requests are sent when they are due, whether or not earlier ones were answered; where no connection is free
latency counts from when they were due: a server that stalls cannot hide the wait of those who would have come meanwhile.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import subprocess
import sys
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from itertools import cycle
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import UnderstudyError, UsageError
from ..fleet.about import about_of
from .config import LoadConfig

_TEXTS = ("where is my order?", "I would like to send this back, please", "hello", "it still does not work although I tried it twice today")
_ROUTES = {"classify": "/v1/classify", "translate": "/v1/translate", "summarize": "/v1/summarize"}
_START, _REST = 60.0, 0.3


@dataclass
class Rate:
    """What came of one rate: requests a second asked and answered, refused with 429 or 503, failed otherwise, milliseconds of those answered."""

    asked: float
    answered: float = 0.0
    refused: int = 0
    failed: int = 0
    p50_ms: float = 0.0
    p99_ms: float = 0.0
    refused_p99_ms: float = 0.0


@dataclass
class _Seen:
    fine: list[float] = field(default_factory=list)
    refused: list[float] = field(default_factory=list)
    failed: int = 0

    def add(self, status: int, seconds: float) -> None:
        if status == 200:
            self.fine.append(seconds)
        elif status in (429, 503):
            self.refused.append(seconds)
        else:
            self.failed += 1

    def rate(self, asked: float, seconds: float) -> Rate:
        def at(times: list[float], share: float) -> float:
            return round(float(np.percentile(times, share)) * 1e3, 3) if times else 0.0

        return Rate(round(asked, 1), round(len(self.fine) / seconds, 1), len(self.refused), self.failed, at(self.fine, 50), at(self.fine, 99), at(self.refused, 99))


class _Connection(asyncio.Protocol):
    """One connection, one request at a time; `done(connection, status, due)` hears of each answer, status 0 for a connection that was lost."""

    def __init__(self, done: Callable[[_Connection, int, float], None]) -> None:
        self._done, self._data, self._due = done, b"", 0.0
        self.transport: Any = None
        self.busy = False

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def ask(self, request: bytes, due: float) -> None:
        """Sends a request that was due at a moment of the monotonic clock."""
        self.busy, self._due, self._data = True, due, b""
        self.transport.write(request)

    def data_received(self, data: bytes) -> None:
        self._data += data
        head, found, body = self._data.partition(b"\r\n\r\n")
        if found:
            lines = head.lower().split(b"\r\n")
            length = next((int(line[15:]) for line in lines if line.startswith(b"content-length:")), 0)
            if len(body) >= length:
                self.busy = False
                self._done(self, int(head[9:12]), self._due)

    def connection_lost(self, exc: Exception | None) -> None:
        if self.busy:
            self.busy = False
            self._done(self, 0, self._due)


def load_test(path: str, config: LoadConfig, *, texts: Sequence[str] = _TEXTS, listen: Callable[[str], Any] = lambda line: None) -> dict[str, Any]:
    """The peak rate and what comes of shares of it, JSON-plain. Raises BundleError for the bundle, UsageError for a dial."""
    try:
        shares = [float(one) for one in config.shares.split(",")]
    except ValueError:
        shares = [0.0]
    if min(shares) <= 0 or config.seconds <= 0 or config.connections < 1:
        raise UsageError(f"--shares is {config.shares!r}, --seconds {config.seconds:g}, --connections {config.connections}", hint="numbers above 0")
    about = about_of(Path(path))
    with _server(path) as (port, name):
        requests = [_request(port, name, about["task"], text, config) for text in texts]
        return asyncio.run(_driven(port, requests, shares, config, listen))


def _request(port: int, name: str, task: str, text: str, config: LoadConfig) -> bytes:
    body: dict[str, Any] = {"model": name, "inputs": text}
    if task not in _ROUTES:
        body = {"model": name, "messages": [{"role": "user", "content": text}], "max_tokens": config.max_tokens}
    data = json.dumps(body).encode()
    return (f"POST {_ROUTES.get(task, '/v1/chat/completions')} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(data)}\r\n\r\n").encode() + data


@contextlib.contextmanager
def _server(path: str) -> Iterator[tuple[int, str]]:
    command = [sys.executable, "-m", "understudy.cli", "serve", path, "--port", "0", "--json", "--no-log-requests", "--trust"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None and process.stderr is not None
    try:
        first = process.stdout.readline()
        if not first:
            raise UnderstudyError(f"the server did not start: {process.stderr.read().decode('utf-8', 'replace').strip()[-300:]}")
        told = json.loads(first)
        yield int(told["address"].rsplit(":", 1)[1]), told["models"][0]
    finally:
        process.terminate()
        try:
            process.wait(_START)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        process.stdout.close()
        process.stderr.close()


async def _driven(port: int, requests: list[bytes], shares: list[float], config: LoadConfig, listen: Callable[[str], Any]) -> dict[str, Any]:
    listen("as fast as it can")
    async with _Load(port, requests, config.connections).opened() as load:
        await load.flat_out(min(1.0, config.seconds))
        peak = await load.flat_out(config.seconds)
        rates = []
        for share in shares:
            listen(f"{share:g} % of {peak.answered:g} a second")
            await asyncio.sleep(_REST)
            rates.append({"share": share, **asdict(await load.at(max(0.1, peak.answered * share / 100), config.seconds))})
    return {"peak": asdict(peak), "rates": rates, "connections": config.connections, "seconds": config.seconds}


class _Load:
    def __init__(self, port: int, requests: list[bytes], connections: int) -> None:
        self._port, self._requests, self._count = port, cycle(requests), connections
        self._connections: list[_Connection] = []
        self._waiting: deque[float] = deque()
        self._seen, self._until = _Seen(), 0.0
        self._flat_out = False

    @contextlib.asynccontextmanager
    async def opened(self) -> AsyncIterator[_Load]:
        loop = asyncio.get_running_loop()
        for _ in range(self._count):
            self._connections.append((await loop.create_connection(lambda: _Connection(self._done), "127.0.0.1", self._port))[1])
        try:
            yield self
        finally:
            for one in self._connections:
                one.transport.close()

    def _done(self, connection: _Connection, status: int, due: float) -> None:
        now = time.monotonic()
        self._seen.add(status, now - due)
        if connection.transport.is_closing():
            return
        if self._flat_out and now < self._until:
            connection.ask(next(self._requests), now)
        elif self._waiting:
            connection.ask(next(self._requests), self._waiting.popleft())

    async def flat_out(self, seconds: float) -> Rate:
        """Every connection asks again as soon as it is answered."""
        began = time.monotonic()
        self._seen, self._until, self._flat_out = _Seen(), began + seconds, True
        for one in self._connections:
            one.ask(next(self._requests), began)
        await self._quiet(seconds)
        self._flat_out = False
        took = time.monotonic() - began
        return self._seen.rate(len(self._seen.fine) / took, took)

    async def at(self, rate: float, seconds: float) -> Rate:
        """Requests at a fixed rate; those for which no connection is free wait, and their waiting counts."""
        began, sent, total = time.monotonic(), 0, int(rate * seconds) or 1
        self._seen = _Seen()
        while sent < total:
            due = min(total, int((time.monotonic() - began) * rate) + 1)
            free = iter([one for one in self._connections if not one.busy])
            for number in range(sent, due):
                connection = next(free, None)
                if connection is None:
                    self._waiting.append(began + number / rate)
                else:
                    connection.ask(next(self._requests), time.monotonic())
            sent = due
            await asyncio.sleep(min(0.005, max(0.0, began + sent / rate - time.monotonic())))
        span = time.monotonic() - began
        late = len(self._waiting)
        self._waiting.clear()
        answered = len(self._seen.fine)
        await self._quiet(_START)
        found = self._seen.rate(rate, max(span, seconds))
        found.answered = round(answered / max(span, 1e-3), 1) if late else found.answered
        return found

    async def _quiet(self, most: float) -> None:
        deadline = time.monotonic() + most + _START
        await asyncio.sleep(max(0.0, self._until - time.monotonic()))
        while any(one.busy for one in self._connections) and time.monotonic() < deadline:
            await asyncio.sleep(0.005)
