"""How fast something answers, and on which machine.

    answer_one(text)     p50, p95, p99, mean of one request at a time
    answer_many(texts)   rows per second in batches

Example: measure(model.answer, model.answer_many, texts).p50_ms is the median milliseconds of one request.
"""

from __future__ import annotations

import os
import platform
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from importlib import metadata
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import UsageError

WATCHED = ("numpy", "onnxruntime", "tokenizers", "torch", "transformers", "understudy")
BATCH = 256
LEAST = 5


@dataclass(frozen=True)
class Speed:
    """Milliseconds per single request, rows per second in batches, peak resident memory of this process in MB (10^6).

    `n` is the number of single requests timed, `threads` what the caller allowed. `rss_mb` is None off Linux.
    """

    p50_ms: float
    p95_ms: float
    p99_ms: float
    mean_ms: float
    rows_per_s: float
    rss_mb: float | None
    threads: int
    n: int

    def to_dict(self) -> dict[str, Any]:
        """JSON-plain fields."""
        return asdict(self)


def measure(answer_one: Callable[[str], object], answer_many: Callable[[list[str]], object] | None,
            texts: Sequence[str], *, seconds: float = 2.0, threads: int = 1,
            batch: int = BATCH) -> Speed:
    """Time single requests for `seconds`, cycling through `texts`, then batches of `batch` for as long.

    Warms up first; times at least five requests and one batch however slow. Without `answer_many`, rows per second
    are those of one request after the other.
    """
    if not len(texts):
        raise UsageError("there is no text to time")
    texts = list(texts)
    _run(answer_one, cycle(texts), min(0.25, seconds / 4), least=1)
    times = _run(answer_one, cycle(texts), seconds, least=LEAST)
    p50, p95, p99 = np.percentile(times, [50, 95, 99])
    rate = 1000.0 / max(float(times.mean()), 1e-9)
    if answer_many is not None:
        enough = list(islice(cycle(texts), batch)) if len(texts) < batch else texts
        batches = [enough[i:i + batch] for i in range(0, len(enough) - batch + 1, batch)]
        _run(answer_many, cycle(batches), min(0.25, seconds / 4), least=1)
        rate = batch * 1000.0 / max(float(_run(answer_many, cycle(batches), seconds, least=1).mean()), 1e-9)
    return Speed(float(p50), float(p95), float(p99), float(times.mean()), rate, peak_rss_mb(), threads, len(times))


def machine() -> dict[str, Any]:
    """This machine in words, JSON-plain: cpu, cores, memory_gb, os, python, versions. Imports none of what it names."""
    versions = {}
    for name in WATCHED:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return {"cpu": _field("/proc/cpuinfo", "model name") or platform.processor() or platform.machine(),
            "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
            "memory_gb": _kilobytes("/proc/meminfo", "MemTotal", 1e9), "os": f"{platform.system()} {platform.release()}",
            "python": platform.python_version(), "versions": versions}


def peak_rss_mb() -> float | None:
    """The most memory this process has held so far, in MB (10^6 bytes); None off Linux."""
    if sys.platform != "linux":
        return None
    import resource

    peak = _kilobytes("/proc/self/status", "VmHWM", 1e6)
    return peak or round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6, 1)


def rss_mb(pid: int | None) -> float | None:
    """The memory that another process holds now, in MB (10^6 bytes); None off Linux, or where there is no such process."""
    return _kilobytes(f"/proc/{pid}/status", "VmRSS", 1e6) if pid is not None else None


def _run(call: Callable[[Any], object], inputs: Any, seconds: float, least: int) -> np.ndarray:
    """Milliseconds of each call until the time is up."""
    clock = time.perf_counter_ns
    times: list[int] = []
    end = clock() + int(seconds * 1e9)
    after = 0
    while len(times) < least or after < end:
        item = next(inputs)
        before = clock()
        call(item)
        after = clock()
        times.append(after - before)
    return np.array(times, dtype=np.float64) / 1e6


def _field(path: str, name: str) -> str | None:
    try:
        for line in Path(path).read_text(encoding="utf-8", errors="replace").splitlines():
            key, _, value = line.partition(":")
            if key.strip() == name:
                return value.strip()
    except OSError:
        return None
    return None


def _kilobytes(path: str, name: str, scale: float) -> float | None:
    value = _field(path, name)
    return round(int(value.split()[0]) * 1024 / scale, 1) if value else None
