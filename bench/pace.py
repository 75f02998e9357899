"""A load that keeps time: requests leave when they are due, whatever came of earlier ones, from a process that does nothing else.

`understudy load-test` has an event loop's millisecond timers; here the process spins, so that lateness of the generator (reported beside
the latencies) is microseconds where it has a core of its own. Where it shares the server's cores it must not spin. Latency counts from the moment a request was *due*: neither a generator
that is late nor a server that stalls hides the wait of those who would have come meanwhile.
"""

from __future__ import annotations

import os
import random
import select
import socket
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import count

import numpy as np


@dataclass
class Seen:
    """Seconds from due to answered, of answers and of refusals; how late the generator sent; answers within the time; what was neither."""

    seconds: float
    fine: list[float] = field(default_factory=list)
    refused: list[float] = field(default_factory=list)
    late: list[float] = field(default_factory=list)
    within: int = 0
    failed: int = 0
    unsent: int = 0

    def told(self) -> dict[str, float]:
        """Rates and percentiles in milliseconds."""
        def at(times: list[float], share: float) -> float:
            return round(1e3 * float(np.percentile(times, share)), 3) if times else 0.0

        return {"per_second": round(self.within / self.seconds, 1), "p50_ms": at(self.fine, 50), "p99_ms": at(self.fine, 99), "refused": len(self.refused),
                "refused_p99_ms": at(self.refused, 99), "failed": self.failed, "late_p99_ms": at(self.late, 99), "unsent": self.unsent}


def arrivals(rate: float, spread: str, seed: int = 0) -> Iterator[float]:
    """Seconds from the beginning at which requests are due: `even`, or `poisson` as independent clients come."""
    rng = random.Random(seed)
    at = 0.0
    for number in count():
        yield number / rate if spread == "even" else at
        at += rng.expovariate(rate)


class Pace:
    """`connections` that stay open; each carries one request at a time."""

    def __init__(self, port: int, request: bytes, connections: int) -> None:
        self._request = request
        self._epoll = select.epoll()
        self._sockets = [socket.create_connection(("127.0.0.1", port)) for _ in range(connections)]
        self._free = deque(sock.fileno() for sock in self._sockets)
        self._due: dict[int, float] = {}
        self._parts: dict[int, bytes] = {}
        for sock in self._sockets:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock.setblocking(False)
            self._epoll.register(sock.fileno(), select.EPOLLIN)

    def close(self) -> None:
        """Ends the connections."""
        self._epoll.close()
        for sock in self._sockets:
            sock.close()

    def flat_out(self, seconds: float, settle: float = 0.0) -> Seen:
        """Every connection asks again as soon as it is answered; counted from `settle` seconds on."""
        seen, counts = Seen(seconds), time.perf_counter() + settle
        while (now := time.perf_counter()) < counts + seconds:
            if settle and now >= counts:
                seen, settle = Seen(seconds), 0.0
            while self._free:
                self._send(self._free.popleft(), now, seen)
            self._hear(seen, 0.01)
        self._finish(seen)
        return seen

    def at(self, rate: float, seconds: float, spread: str = "even", *, spin: bool = True, settle: float = 0.0) -> Seen:
        """Requests at a rate, counted from `settle` seconds on, when what is answered was asked at that rate, too.

        Those for which no connection is free wait for one, at most as many as there are connections; the rest is `unsent`.
        """
        seen, began = Seen(seconds), time.perf_counter()
        counts = began + settle
        due, waiting = arrivals(rate, spread), deque[float]()
        following = began + next(due)
        while (now := time.perf_counter()) < counts + seconds:
            if settle and now >= counts:
                seen, settle = Seen(seconds), 0.0
            while following <= now:
                waiting.append(following)
                following = began + next(due)
            while waiting and self._free:
                self._send(self._free.popleft(), waiting.popleft(), seen)
            while len(waiting) > len(self._due):
                waiting.popleft()
                seen.unsent += 1
            self._hear(seen, 0.0 if spin else 0.001)
        self._finish(seen)
        return seen

    def _send(self, one: int, due: float, seen: Seen) -> None:
        self._due[one] = due
        os.write(one, self._request)
        seen.late.append(time.perf_counter() - due)

    def _hear(self, seen: Seen, wait: float) -> None:
        # Files by number, no objects around them: on the server's cores a generator of objects takes a tenth of them.
        for one, _ in self._epoll.poll(wait, 256):
            data = os.read(one, 16384)
            if not data:
                raise SystemExit("the server closed a connection")
            if self._parts and one in self._parts:
                data = self._parts.pop(one) + data
            length = data.find(b"content-length: ") + 16
            body = data.find(b"\r\n\r\n", length)
            if length < 16 or body < 0 or len(data) - body - 4 < int(data[length:data.index(b"\r", length)]):
                self._parts[one] = data
                continue
            took, status = time.perf_counter() - self._due.pop(one), data[9:12]
            self._free.append(one)
            if status == b"200":
                seen.fine.append(took)
            elif status == b"503" or status == b"429":
                seen.refused.append(took)
            else:
                seen.failed += 1

    def _finish(self, seen: Seen) -> None:
        seen.within, until = len(seen.fine), time.perf_counter() + 30
        while self._due and time.perf_counter() < until:
            self._hear(seen, 0.05)
