"""The receipt: the measured proof that travels with a bundle, as JSON, as a table for the terminal and as a page.

    build_receipt(entries on the test rows) ──► Receipt ──► to_json()   receipt.json
                                                        ├─► table()     at most 100 columns
                                                        └─► html()      receipt.html, opens offline

Example: build_receipt(..., entries=[teacher, rung, cascade]).data["entries"][2]["retention"] is the cascade's accuracy
as a ratio of the teacher's.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..errors import BundleError, UsageError
from . import summary
from .bench import machine as this_machine
from .certify import Certificate
from .summary import Entry

__all__ = ["Entry", "Receipt", "build_receipt"]

VERSION = 1
FEW = 200
MOST_BYTES = 64_000_000


@dataclass(frozen=True)
class Receipt:
    """`data` is JSON-plain: shares 0–1, sizes in bytes, times as their names say, None where nothing was measured."""

    data: dict[str, Any] = field(repr=False)

    @property
    def headline(self) -> dict[str, Any]:
        """The entry the receipt is about: the cascade, else the last rung, else the last entry."""
        entry: dict[str, Any] = self.data["entries"][self.data["headline"]]
        return entry

    def to_json(self) -> bytes:
        """UTF-8, indented, ending in a newline; same data, same bytes."""
        text = json.dumps(self.data, ensure_ascii=False, indent=1, allow_nan=False) + "\n"
        return text.encode("utf-8", "backslashreplace")  # a lone surrogate becomes its JSON escape

    @classmethod
    def from_json(cls, raw: bytes) -> Receipt:
        """Read what `to_json` wrote. Raises BundleError on anything else, a newer version and hostile input included."""
        from .schema import check_receipt

        if len(raw) > MOST_BYTES:
            raise BundleError(f"the receipt is {len(raw):,} bytes long; no receipt is longer than {MOST_BYTES:,}")
        try:
            data = json.loads(raw.decode("utf-8"), parse_constant=_no_constant)
        except (ValueError, RecursionError) as error:
            raise BundleError(f"the receipt is not JSON: {str(error) or 'nested too deeply'}") from None
        version = data.get("receipt") if isinstance(data, dict) else None
        if isinstance(version, int) and version > VERSION:
            raise BundleError(f"the receipt has version {version}; this understudy reads up to {VERSION}",
                              hint="pip install --upgrade understudy")
        check_receipt(data)
        return cls(data)

    def table(self) -> str:
        """An aligned plain-text table, at most 100 columns, with what was promised and what to beware of below it."""
        from .table import render_table

        return render_table(self.data)

    def html(self) -> str:
        """A whole page that needs nothing from anywhere else; with plots where matplotlib is installed."""
        from .html import render_page

        return render_page(self.data)


def build_receipt(*, task: str, name: str, labels: Sequence[str], texts: Sequence[str], gold: np.ndarray,
                  entries: Sequence[Entry], rung_names: Sequence[str] = (), certificate: Certificate | None = None,
                  data: Mapping[str, Any] | None = None, provenance: Mapping[str, Any] | None = None, seed: int = 0,
                  notes: Sequence[str] = (), include_texts: bool = False,
                  machine: Mapping[str, Any] | None = None) -> Receipt:
    """Measure every entry on the test rows `texts` (n) with `gold` (n,) label numbers into `labels` (k).

    `data` and `provenance` are JSON-plain and go in as they are. Texts stay out unless `include_texts`. `machine`
    describes this one where not given. Raises UsageError when shapes do not fit.
    """
    gold = np.asarray(gold, dtype=np.int64)
    _check(labels, texts, gold, entries, rung_names)
    teacher = next((e for e in entries if e.role == "teacher"), None)
    at = _headline(entries)
    head = entries[at]
    plain = {
        "receipt": VERSION, "name": name, "task": task, "rows": len(gold), "labels": list(labels), "seed": seed,
        "headline": at, "entries": [summary.figures(e, gold, teacher, rung_names, seed) for e in entries],
        "risk_coverage": [{"entry": i, **summary.curve(e, gold)} for i, e in enumerate(entries)],
        "reliability": summary.reliability_bins(head, gold),
        "confused": summary.confused(head, gold, labels, texts if include_texts else None),
        "slices": {"labels": summary.label_slices(head, gold, labels), "lengths": summary.length_slices(head, gold, texts)},
        "certificate": certificate.to_dict() if certificate else None,
        "machine": dict(machine) if machine is not None else this_machine(),
        "data": dict(data or {}), "provenance": dict(provenance or {}), "notes": [*_notes(gold, labels, teacher), *notes],
    }
    return Receipt(json.loads(json.dumps(plain, allow_nan=False)))


def _headline(entries: Sequence[Entry]) -> int:
    for role in ("cascade", "rung"):
        found = [i for i, e in enumerate(entries) if e.role == role]
        if found:
            return found[-1]
    return len(entries) - 1


def _notes(gold: np.ndarray, labels: Sequence[str], teacher: Entry | None) -> list[str]:
    notes = []
    if len(gold) < FEW:
        notes.append(f"Only {len(gold)} test row{'s' if len(gold) > 1 else ''}: the intervals are wide, and differences inside them mean little.")
    unseen = len(labels) - len(np.unique(gold))
    if unseen:
        notes.append(f"{unseen} of {len(labels)} labels have no test row, so nothing is known about them.")
    if teacher is None:
        notes.append("No teacher was measured, so there is no share of a teacher to keep.")
    return notes


def _check(labels: Sequence[str], texts: Sequence[str], gold: np.ndarray, entries: Sequence[Entry],
           rung_names: Sequence[str]) -> None:
    if not len(gold) or not entries:
        raise UsageError(f"a receipt needs test rows and something that answered them, not {len(gold)} rows and "
                         f"{len(entries)} entries")
    if len(texts) != len(gold) or gold.min() < 0 or gold.max() >= len(labels):
        raise UsageError(f"{len(texts)} texts, {len(gold)} gold labels from {gold.min()} to {gold.max()} and "
                         f"{len(labels)} label names do not fit together")
    for entry in entries:
        if entry.probs.shape != (len(gold), len(labels)) or not np.isfinite(entry.probs).all():
            raise UsageError(f"{entry.name}: probabilities of shape {entry.probs.shape} are not {len(gold)} rows of "
                             f"{len(labels)} finite numbers")
        for what in (entry.rung, entry.answered):
            if what is not None and np.shape(what) != (len(gold),):
                raise UsageError(f"{entry.name}: {np.shape(what)} is not one value per test row ({len(gold)},)")
        if entry.rung is not None and int(np.max(entry.rung)) >= len(rung_names):
            raise UsageError(f"{entry.name}: rung {int(np.max(entry.rung))} answered, but {len(rung_names)} rungs are named")


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is not a JSON number")
