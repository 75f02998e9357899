"""Every dial of `understudy train` for classification. The flags and the reference page are derived from this class."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from difflib import get_close_matches
from typing import Any, TypeVar

from ..dials import dial
from ..errors import UsageError

Dials = TypeVar("Dials", bound=Any)


@dataclass(frozen=True)
class TrainConfig:
    """How a classifier is made. Sizes are bytes, times seconds, latencies milliseconds, shares 0–1."""

    size: str = dial("base", "The one dial: tiny (n-grams only), small (plus a transformer of ≤ 1M parameters), base (plus the encoder).",
                     choices=("tiny", "small", "base"))
    teacher: str = dial("sentence-transformers/all-MiniLM-L6-v2",
                        "Who knows better: none, a sentence encoder, a checkpoint with a classification head, or an earlier bundle.",
                        metavar="MODEL")
    text_column: str | None = dial(None, "The column with the texts; found by name and content when not given.", metavar="NAME")
    label_column: str | None = dial(None, "The column with the labels; found by name and content when not given.", metavar="NAME")
    labels: str | None = dial(None, "A labels.json: label names with a description each.", metavar="FILE")
    test: str | None = dial(None, "A labelled file that nothing is tuned on; otherwise a stable share of the data is kept back.", metavar="FILE")
    test_share: float = dial(0.2, "Share of the data kept back for the receipt when no test file is given.")
    unlabelled: str | None = dial(None, "In-domain texts without labels; only the teacher labels them.", metavar="FILE")
    encoding: str | None = dial(None, "The data file's encoding; detected when not given.", metavar="NAME")
    on_bad_row: str = dial("fail", "What to do with a row that cannot be used: fail, or skip and count it.", choices=("fail", "skip"))
    max_error: float | None = dial(None, "Certify P(answered and wrong) at or below this share, at 90 % confidence, e.g. 5%.", metavar="SHARE")
    max_size: int | None = dial(None, "The finished bundle's models may take this many bytes, e.g. 5MB.", metavar="BYTES")
    max_latency: float | None = dial(None, "Mean milliseconds per request on one thread, expected from what is measured here, e.g. 1ms.", metavar="MS")
    time_budget: float | None = dial(None, "Seconds that training may take, e.g. 10m; measuring for the receipt comes on top.", metavar="SECONDS")
    gate: str | None = dial(None, "Refuse to write a bundle that misses this, e.g. 'accuracy>=0.9,size<=5MB'.", metavar="RULES")
    seed: int = dial(0, "Same seed, same machine, same bytes.")
    threads: int | None = dial(None, "CPU threads for training; all cores when not given.")


def with_dials(config: Dials, dials: dict[str, Any]) -> Dials:
    """The config with some dials set by name. Raises UsageError for a name that is no dial."""
    known = [one.name for one in fields(config)]
    for name in dials:
        if name not in known:
            close = get_close_matches(name, known, 1)
            raise UsageError(f"train has no dial '{name}'", hint=f"did you mean '{close[0]}'?" if close else f"there are {', '.join(known)}")
    return replace(config, **dials)
