"""One request on its way through the service, and what a route is."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from ..fleet.fleet import Fleet
    from .config import ServeConfig
    from .large import Large
    from .metrics import Metrics


@dataclass
class Service:
    """What all requests share."""

    fleet: Fleet
    config: ServeConfig
    metrics: Metrics
    started: float = field(default_factory=time.time)
    draining: bool = False
    large: Large | None = None
    recent: deque[dict[str, Any]] = field(default_factory=lambda: deque(maxlen=50))
    """The last requests, without their texts."""


class Call:
    """One request. `deadline` and `began` are of the monotonic clock; what a handler learns about it goes into `notes` for the log."""

    __slots__ = ("began", "deadline", "id", "key", "notes", "service")

    def __init__(self, service: Service, number: str, deadline: float, key: str | None) -> None:
        self.service, self.id, self.deadline, self.key = service, number, deadline, key
        self.began = time.monotonic()
        self.notes: dict[str, Any] = {}

    @property
    def milliseconds(self) -> float:
        """Since the request was read."""
        return (time.monotonic() - self.began) * 1e3


@dataclass(frozen=True)
class Raw:
    """An answer that is no JSON."""

    data: bytes
    kind: str
    headers: tuple[tuple[bytes, bytes], ...] = ()


@dataclass(frozen=True)
class Stream:
    """An answer as server-sent events."""

    events: AsyncIterator[bytes]


Handler = Callable[[Call, Any], Awaitable[Any]]


@dataclass(frozen=True)
class Route:
    """A method and a path, who may ask (`scope`: open, infer, admin, metrics), the shapes of question and answer, and who answers.

    `shape` is that of errors: openai, tei, libre.
    """

    method: str
    path: str
    handler: Handler
    says: str
    answer: Any
    body: Any = None
    scope: str = "infer"
    shape: str = "openai"
    streams: bool = False
    at_once: Callable[[Call, Any], Any] | None = None
    """What to ask which model (`answers.Asked`), where it can answer without being waited for, or None: then `handler` is asked. Its body has `model` and `inputs`."""
    errors: tuple[int, ...] = ()


Headers = list[tuple[bytes, bytes]]


class Passed(NamedTuple):
    """What a path and headers came to, all but the body's length and the request's id: the route, the key's name, seconds until the deadline."""

    url: bytes
    headers: Headers
    route: Route
    key: str | None
    seconds: float


def headed(body: bytes, identity: str, more: bytes = b"") -> bytes:
    """A JSON answer as it is written behind its first line and the server's own headers; `more` are whole header lines."""
    return b"content-type: application/json\r\ncontent-length: %d\r\nx-request-id: %s\r\nx-content-type-options: nosniff\r\n%s\r\n%s" % (
        len(body), identity.encode(), more, body)
