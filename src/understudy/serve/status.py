"""Health, metrics and what is served right now."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from .._version import __version__
from ..fleet import memory
from .call import Call, Raw, Route
from .problems import Problem

if TYPE_CHECKING:
    from .large import Large


class Health(Struct):
    """`status` is ok."""

    status: str


class Memory(Struct):
    """Bytes: what models may take together, what they take, and what this process holds."""

    budget: int
    models: int
    process: int


class LargeModel(Struct):
    """The large model: its name, the machine it is on, its breaker (closed, open or half_open), questions in all, those it answered, and those that
    were asked twice; `budget` and `left` are questions a day, None where they are not counted."""

    name: str
    host: str
    breaker: str
    asked: int
    answered: int
    again: int
    budget: int | None
    left: int | None


class Status(Struct):
    """What the service does right now; `models` as in /models."""

    version: str
    uptime: float
    pid: int
    requests: int
    in_flight: int
    memory: Memory
    loads: int
    evictions: int
    models: list[dict[str, Any]]
    recent: list[dict[str, Any]]
    large: LargeModel | None = None


async def health(call: Call, body: None) -> Health:
    """Whether the service answers; stays quick while it is busy."""
    if call.service.draining:
        raise Problem(503, "shutting_down", "the server is shutting down", headers=((b"retry-after", b"5"),))
    return Health("ok")


async def metrics(call: Call, body: None) -> Raw:
    """Figures for Prometheus."""
    data, kind = call.service.metrics.page(call.service.fleet)
    return Raw(data, kind)


async def status(call: Call, body: None) -> Status:
    """What is loaded, what runs and waits, and how much memory it takes."""
    service = call.service
    fleet = service.fleet
    return Status(__version__, time.time() - service.started, os.getpid(), service.metrics.requests, service.metrics.in_flight,
                  Memory(fleet.budget, fleet.used(), memory.resident()), fleet.loads, fleet.evictions,
                  [entry.status() for entry in fleet.entries.values()], [{name: value for name, value in told.items() if name not in ("event", "text")} for told in service.recent],
                  _large(service.large))


def _large(large: Large | None) -> LargeModel | None:
    if large is None:
        return None
    budget = large.budget
    return LargeModel(large.model, large.host, large.breaker.state, large.asked, large.ended["answered"], large.again,
                      None if budget is None else budget.most, None if budget is None else budget.left)


ROUTES = [
    Route("GET", "/health", health, "Whether the service answers.", Health, scope="open", errors=(503,)),
    Route("GET", "/metrics", metrics, "Figures for Prometheus.", str, scope="metrics"),
    Route("GET", "/status", status, "What is loaded, what runs and waits, and how much memory it takes.", Status, scope="metrics"),
]
