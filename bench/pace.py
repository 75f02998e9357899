"""A load that keeps time: requests leave when they are due, whatever came of earlier ones, from a process that does nothing else.

`understudy load-test` has an event loop's millisecond timers; here the process spins, so that lateness of the generator (reported beside
the latencies) is microseconds where it has a core of its own. Where it shares the server's cores it must not spin. Latency counts from the moment a request was *due*: neither a generator
that is late nor a server that stalls hides the wait of those who would have come meanwhile.
"""

from __future__ import annotations

import random
import selectors
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
        self._selector = selectors.EpollSelector()
        self._free: deque[socket.socket] = deque()
        self._due: dict[socket.socket, float] = {}
        self._data: dict[socket.socket, bytes] = {}
        for _ in range(connections):
            sock = socket.create_connection(("127.0.0.1", port))
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock.setblocking(False)
            self._selector.register(sock, selectors.EVENT_READ)
            self._free.append(sock)

    def close(self) -> None:
        """Ends the connections."""
        for one in list(self._selector.get_map().values()):
            one.fileobj.close()  # type: ignore[union-attr]
        self._selector.close()

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

    def _send(self, sock: socket.socket, due: float, seen: Seen) -> None:
        self._due[sock], self._data[sock] = due, b""
        sock.send(self._request)
        seen.late.append(time.perf_counter() - due)

    def _hear(self, seen: Seen, wait: float) -> None:
        for key, _ in self._selector.select(wait):
            sock: socket.socket = key.fileobj  # type: ignore[assignment]
            data = self._data[sock] + sock.recv(65536)
            head, found, body = data.partition(b"\r\n\r\n")
            where = head.find(b"content-length: ")
            if not data:
                raise SystemExit("the server closed a connection")
            if not found or len(body) < int(head[where + 16:].split(b"\r\n", 1)[0]):
                self._data[sock] = data
                continue
            took, status = time.perf_counter() - self._due.pop(sock), data[9:12]
            self._free.append(sock)
            if status == b"200":
                seen.fine.append(took)
            elif status in (b"429", b"503"):
                seen.refused.append(took)
            else:
                seen.failed += 1

    def _finish(self, seen: Seen) -> None:
        seen.within, until = len(seen.fine), time.perf_counter() + 30
        while self._due and time.perf_counter() < until:
            self._hear(seen, 0.05)
