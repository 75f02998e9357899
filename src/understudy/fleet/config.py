"""The dials of a fleet. Sizes are bytes, times seconds."""

from __future__ import annotations

from dataclasses import dataclass

from ..dials import dial


@dataclass(frozen=True)
class FleetConfig:
    """How much a fleet may hold and do at once."""

    memory: int | None = dial(None, "Memory that all loaded models may take together, e.g. 2GB; half of the machine's when not given.",
                              metavar="BYTES", parse="parse_size")
    threads: int | None = dial(None, "Threads that classifiers and summarisers share; all cores when not given.", metavar="N", least=1, most=64)
    slots: int = dial(4, "Requests that one writing model works on side by side.", metavar="N", least=1, most=64)
    queue: int = dial(128, "Requests that may wait for one model; one more is answered 503 with Retry-After.", metavar="N", least=1, most=100_000)
    batch_tokens: int = dial(4096, "Tokens, roughly, that are answered in one go when requests wait; a lone request never waits for company.",
                             metavar="N", least=1, most=1_000_000)
    timeout: float = dial(60.0, "Seconds until a request is given up; what it waits for is then not done.", metavar="SECONDS", parse="parse_duration")
    drain: float = dial(30.0, "Seconds that running requests get at a shutdown, a swap or an eviction.", metavar="SECONDS", parse="parse_duration")
    trust: bool = dial(False, "Load bundles without trying them in a limited child process first.")
