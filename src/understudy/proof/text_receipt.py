"""The receipt of a model that writes: every precision on the same test rows, with its scores, speed, size and memory.

    build_text_receipt(entries) ──► TextReceipt ──► to_json()  receipt.json
                                                ├─► table()    at most 100 columns
                                                └─► html()     receipt.html, opens offline
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from .bench import machine as this_machine
from .html import page, say
from .plain import align, number, plain, width
from .table import COLUMNS

VERSION = 1
NAMES = {"bleu": "BLEU", "chrf": "chrF", "rouge1": "ROUGE-1", "rouge2": "ROUGE-2", "rougeL": "ROUGE-L", "coverage": "coverage %",
         "supported": "supported", "placeholders": "placeholders %", "bits_per_byte": "bits/byte"}
_SPEED = (("first_ms", "first ms"), ("answer_ms", "answer ms"), ("prefill_tokens_per_s", "read tok/s"), ("tokens_per_s", "write tok/s"), ("rss_mb", "RAM MB"))
_ABOUT = 3
"""Columns that say which model a row is about."""


@dataclass(frozen=True)
class TextReceipt:
    """`data` is JSON-plain: scores with their intervals, sizes in bytes, times as their names say, None where nothing was measured."""

    data: dict[str, Any] = field(repr=False)

    @property
    def headline(self) -> dict[str, Any]:
        """The shipped model's scores, name → value."""
        return {name: score["value"] for name, score in self.data["entries"][-1]["scores"].items()}

    def to_json(self) -> bytes:
        """UTF-8, indented, ending in a newline."""
        return (json.dumps(self.data, ensure_ascii=False, indent=1, allow_nan=False) + "\n").encode("utf-8", "backslashreplace")

    def rows(self) -> list[tuple[str, ...]]:
        """The table as cells, its head first."""
        metrics = list(dict.fromkeys(name for entry in self.data["entries"] for name in entry["scores"]))
        rows = [("", "", "rows", *(NAMES.get(name, name) for name in metrics), "MB", *(title for _, title in _SPEED))]
        for entry in self.data["entries"]:
            scores = [_score(entry["scores"].get(name)) for name in metrics]
            speed = entry.get("speed") or {}
            size = entry.get("bytes")
            rows.append((plain(entry["name"], 40), plain(entry["precision"], 8), f"{entry['rows']:,}", *scores,
                         "–" if size is None else number(size / 1e6), *(number(speed.get(key)) for key, _ in _SPEED)))
        return rows

    def table(self) -> str:
        """Aligned plain text: what each model scores, then how large and fast it is, then what to beware of."""
        head = f"{plain(self.data['name'])} · {plain(self.data['task'])} · {self.data['rows']:,} test rows"
        rows, notes = self.rows(), self._notes()
        costs = 1 + len(_SPEED)
        scores, weights = [row[:-costs] for row in rows], [row[:_ABOUT - 1] + row[-costs:] for row in rows]
        blocks = [*_folded(scores, _ABOUT), *_folded(weights, _ABOUT - 1)]
        return "\n".join([head, *(line for block in blocks for line in ("", *align(block, 2))), *(["", *notes] if notes else [])])

    def _notes(self) -> list[str]:
        notes = [f"{plain(entry['name'])} {plain(entry['precision'])}: {entry['cut']:,} answers were cut at their longest"
                 for entry in self.data["entries"] if entry.get("cut")]
        return [*notes, *(plain(note, 300) for note in self.data["notes"])]

    def html(self) -> str:
        """A whole page that needs nothing from anywhere else."""
        head, *rows = self.rows()
        cells = "".join(f"<th>{say(cell)}</th>" for cell in head)
        body = "".join("<tr>" + "".join(f"<td>{say(cell)}</td>" for cell in row) + "</tr>" for row in rows)
        signed = {name: score["signature"] for entry in self.data["entries"] for name, score in entry["scores"].items() if score.get("signature")}
        notes = "".join(f"<li>{say(note, 300)}</li>" for note in [*self._notes(), *(f"{NAMES.get(name, name)}: {text}" for name, text in signed.items())])
        machine = ", ".join(f"{say(key)} {say(value)}" for key, value in self.data["machine"].items() if isinstance(value, str | int | float))
        return page(f"{say(self.data['name'])}: receipt", (
            f'<header><p class="kind">Receipt</p><h1>{say(self.data["name"])}</h1><p class="lead">{say(self.data["task"])}, measured on '
            f'{self.data["rows"]:,} test rows that nothing was tuned on.</p></header>\n<section><h2>Results</h2><div class="scroll" role="region" '
            f'aria-label="Results" tabindex="0"><table><thead><tr>{cells}</tr></thead><tbody>{body}</tbody></table></div>'
            f'<p class="fine">95 % intervals by bootstrap over rows. Times are single requests.</p></section>\n'
            f'<section><h2>Notes</h2><ul>{notes}</ul><p class="fine">{machine}</p></section>'))


def build_text_receipt(*, task: str, name: str, entries: Sequence[Mapping[str, Any]], rows: int, data: Mapping[str, Any] | None = None,
                       provenance: Mapping[str, Any] | None = None, seed: int = 0, notes: Sequence[str] = ()) -> TextReceipt:
    """`entries`, the shipped model last: name, precision, rows, scores {metric: {value, low, high, signature}}, bytes, parameters, speed."""
    told = {"receipt": VERSION, "kind": "text", "task": task, "name": name, "rows": rows, "seed": seed, "entries": [dict(entry) for entry in entries],
            "machine": this_machine(), "data": dict(data or {}), "provenance": dict(provenance or {}), "notes": list(notes)}
    return TextReceipt(json.loads(json.dumps(told, allow_nan=False, default=float)))


def _folded(rows: Sequence[tuple[str, ...]], about: int) -> list[list[tuple[str, ...]]]:
    """The table as tables of at most COLUMNS, each with the first `about` columns."""
    blocks: list[list[int]] = [[]]
    for column in range(about, len(rows[0])):
        tried = [*range(about), *blocks[-1], column]
        if blocks[-1] and max(map(width, align([[row[at] for at in tried] for row in rows], 2))) > COLUMNS:
            blocks.append([])
        blocks[-1].append(column)
    return [[tuple(row[at] for at in (*range(about), *block)) for row in rows] for block in blocks]


def _score(score: Mapping[str, Any] | None) -> str:
    if score is None:
        return "–"
    return f"{score['value']:.3g} [{score['low']:.3g}, {score['high']:.3g}]"
