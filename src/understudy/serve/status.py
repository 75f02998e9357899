"""Health, metrics and what is served right now."""

from __future__ import annotations

import os
import time
from typing import Any

from msgspec import Struct

from .._version import __version__
from ..fleet import memory
from .call import Call, Raw, Route
from .problems import Problem


class Health(Struct):
    """`status` is ok."""

    status: str


class Memory(Struct):
    """Bytes: what models may take together, what they take, and what this process holds."""

    budget: int
    models: int
    process: int


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
                  [entry.status() for entry in fleet.entries.values()], [{name: value for name, value in told.items() if name not in ("event", "text")} for told in service.recent])


ROUTES = [
    Route("GET", "/health", health, "Whether the service answers.", Health, scope="open", errors=(503,)),
    Route("GET", "/metrics", metrics, "Figures for Prometheus.", str, scope="metrics"),
    Route("GET", "/status", status, "What is loaded, what runs and waits, and how much memory it takes.", Status, scope="metrics"),
]
