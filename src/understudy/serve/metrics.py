"""Figures for Prometheus. Labels come from closed sets: routes, statuses, the names of models; never from what a client sends."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

from ..fleet import memory

if TYPE_CHECKING:
    from ..fleet.fleet import Fleet

_BUCKETS = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)


class Metrics:
    """Counts requests; `page` is what /metrics answers."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = self.in_flight = 0
        self._count = Counter("understudy_requests_total", "Requests by route and status.", ["route", "status"], registry=self.registry)
        self._seconds = Histogram("understudy_request_seconds", "Seconds from a request's headers to the end of its answer.", ["route"],
                                  buckets=_BUCKETS, registry=self.registry)
        self._model = Counter("understudy_model_requests_total", "Requests by model.", ["model"], registry=self.registry)
        self.tokens = Counter("understudy_tokens_total", "Tokens read and written by models that write.", ["model", "kind"], registry=self.registry)
        self.left = Counter("understudy_clients_left_total", "Clients that left before their answer.", registry=self.registry)
        self.stalled = Counter("understudy_clients_cut_total", "Connections ended for being too slow or too large.", ["why"], registry=self.registry)
        self.dropped = Counter("understudy_log_lines_dropped_total", "Lines of the log that nobody could take.", registry=self.registry)
        names = {"in_flight": "Requests that are being worked on.", "models_bytes": "Bytes that loaded models take.", "process_bytes": "Bytes that this process holds.",
                 "models_loaded": "Models in memory.", "waiting": "Requests that wait before a model.", "loads": "Bundles loaded so far.",
                 "evictions": "Models that left for another."}
        self._gauges = {name: Gauge(f"understudy_{name}", text, registry=self.registry) for name, text in names.items()}
        self._counts: dict[tuple[str, int], Counter] = {}
        self._times: dict[str, Histogram] = {}
        self._models: dict[str, Counter] = {}

    def told(self, route: str, status: int, seconds: float, model: str | None) -> None:
        """One request has ended."""
        self.requests += 1
        count = self._counts.get((route, status))
        if count is None:
            count = self._counts[route, status] = self._count.labels(route, str(status))
            self._times.setdefault(route, self._seconds.labels(route))
        count.inc()
        self._times[route].observe(seconds)
        if model is not None:
            counted = self._models.get(model)
            if counted is None:
                counted = self._models[model] = self._model.labels(model)
            counted.inc()

    def page(self, fleet: Fleet) -> tuple[bytes, str]:
        """The figures as text, and its content type."""
        versions = [version for entry in fleet.entries.values() for version in entry.versions()]
        values = {"in_flight": self.in_flight, "models_bytes": fleet.used(), "process_bytes": memory.resident(), "models_loaded": len(versions),
                  "waiting": sum(len(version.lane.waiting) for version in versions), "loads": fleet.loads, "evictions": fleet.evictions}
        for name, value in values.items():
            self._gauges[name].set(value)
        return generate_latest(self.registry), CONTENT_TYPE_LATEST
