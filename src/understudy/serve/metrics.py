"""Figures for Prometheus. Labels come from closed sets: routes, statuses, the names of models; never from what a client sends."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator
from itertools import accumulate
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Counter, Gauge
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

from ..fleet import memory

if TYPE_CHECKING:
    from ..fleet.fleet import Fleet
    from .large import Large

_BUCKETS = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)


class Metrics:
    """Counts requests; `page` is what /metrics answers."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = self.in_flight = 0
        self.large: Large | None = None
        # Plain numbers: all of this is on one thread, and a counter with a lock costs as much as reading a request's JSON.
        self._counts: dict[tuple[str, int], int] = {}
        self._times: dict[str, list[float]] = {}
        self._models: dict[str, int] = {}
        self.registry.register(self)
        self.tokens = Counter("understudy_tokens_total", "Tokens read and written by models that write.", ["model", "kind"], registry=self.registry)
        self.left = Counter("understudy_clients_left_total", "Clients that left before their answer.", registry=self.registry)
        self.stalled = Counter("understudy_clients_cut_total", "Connections ended for being too slow or too large.", ["why"], registry=self.registry)
        self.dropped = Counter("understudy_log_lines_dropped_total", "Lines of the log that nobody could take.", registry=self.registry)
        names = {"in_flight": "Requests that are being worked on.", "models_bytes": "Bytes that loaded models take.", "process_bytes": "Bytes that this process holds.",
                 "models_loaded": "Models in memory.", "waiting": "Requests that wait before a model.", "loads": "Bundles loaded so far.",
                 "evictions": "Models that left for another."}
        self._gauges = {name: Gauge(f"understudy_{name}", text, registry=self.registry) for name, text in names.items()}

    def told(self, route: str, status: int, seconds: float, model: str | None) -> None:
        """One request has ended."""
        self.requests += 1
        self._counts[route, status] = self._counts.get((route, status), 0) + 1
        times = self._times.get(route)
        if times is None:
            times = self._times[route] = [0] * (len(_BUCKETS) + 1) + [0.0]
        times[bisect_left(_BUCKETS, seconds)] += 1
        times[-1] += seconds
        if model is not None:
            self._models[model] = self._models.get(model, 0) + 1

    def collect(self) -> Iterator[Metric]:
        """What `told` counted, for the registry."""
        requests = CounterMetricFamily("understudy_requests", "Requests by route and status.", labels=["route", "status"])
        for (route, status), count in self._counts.items():
            requests.add_metric([route, str(status)], count)
        seconds = HistogramMetricFamily("understudy_request_seconds", "Seconds from a request's headers to the end of its answer.", labels=["route"])
        for route, times in self._times.items():
            up_to = zip([*map(str, map(float, _BUCKETS)), "+Inf"], accumulate(times[:-1]), strict=True)
            seconds.add_metric([route], list(up_to), times[-1])
        models = CounterMetricFamily("understudy_model_requests", "Requests by model.", labels=["model"])
        for model, count in self._models.items():
            models.add_metric([model], count)
        yield from (requests, seconds, models)
        if self.large is not None:
            yield from _of_large(self.large)

    def page(self, fleet: Fleet) -> tuple[bytes, str]:
        """The figures as text, and its content type."""
        versions = [version for entry in fleet.entries.values() for version in entry.versions()]
        values = {"in_flight": self.in_flight, "models_bytes": fleet.used(), "process_bytes": memory.resident(), "models_loaded": len(versions),
                  "waiting": sum(len(version.lane.waiting) for version in versions), "loads": fleet.loads, "evictions": fleet.evictions}
        for name, value in values.items():
            self._gauges[name].set(value)
        return generate_latest(self.registry), CONTENT_TYPE_LATEST


def _of_large(large: Large) -> Iterator[Metric]:
    ended = CounterMetricFamily("understudy_large_requests", "Questions to the large model that have ended, by how.", labels=["outcome"])
    for outcome, count in large.ended.items():
        ended.add_metric([outcome], count)
    again = CounterMetricFamily("understudy_large_retries", "Questions to the large model that were asked a second time.", value=large.again)
    breaker = GaugeMetricFamily("understudy_large_breaker", "1 for the state that the breaker before the large model is in.", labels=["state"])
    for state in ("closed", "open", "half_open"):
        breaker.add_metric([state], float(state == large.breaker.state))
    yield from (ended, again, breaker)
    if large.budget is not None:
        yield GaugeMetricFamily("understudy_large_budget_left", "Questions that the large model may still be asked today (UTC).", value=large.budget.left)
