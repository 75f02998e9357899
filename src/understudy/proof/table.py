"""The receipt in a terminal: one line per entry, at most 100 columns, then what it promises and what to beware of."""

from __future__ import annotations

import textwrap
from typing import Any

from .plain import align, fit, number, p_value, plain, seconds, share, width

COLUMNS = 100
HEAD = ("", "", "accuracy    95 %", "F1", "kept", "p", "MB", "p50 ms", "p95 ms", "rows/s", "RAM MB", "train")


def render_table(data: dict[str, Any]) -> str:
    """The table of a checked receipt's `data`, ending without a newline."""
    rows = [HEAD, *(_row(e) for e in data["entries"])]
    gap = "  " if _over(rows, "  ") <= 0 else " "
    over = _over(rows, gap)
    if over > 0:
        room = max(6, max(width(r[0]) for r in rows) - over)
        rows = [(fit(r[0], room), *r[1:]) for r in rows]
    title = fit(f"{plain(data['name'])} · {plain(data['task'])} · {data['rows']:,} test rows · {len(data['labels'])} labels", COLUMNS)
    return "\n".join([title, "", *align(rows, 2, gap), *_below(data)])


def _over(rows: list[tuple[str, ...]], gap: str) -> int:
    return max(width(line) for line in align(rows, 2, gap)) - COLUMNS


def _row(entry: dict[str, Any]) -> tuple[str, ...]:
    speed = entry["speed"] or {}
    versus = entry["versus_teacher"] or {}
    kept = entry["retention"]
    rate = speed.get("rows_per_s")
    score = entry["accuracy"]
    return (plain(entry["name"], 60), plain(entry["precision"], 7),
            f"{share(score['value'])}  {share(score['low'])}–{share(score['high'])}", share(entry["macro_f1"]["value"]),
            "–" if kept is None else f"{share(kept)}%", p_value(versus.get("p")),
            "–" if entry["bytes"] is None else number(entry["bytes"] / 1e6), number(speed.get("p50_ms"), 2),
            number(speed.get("p95_ms"), 2), _rate(rate), number(speed.get("rss_mb")), seconds(entry["train_seconds"]))


def _rate(rate: float | None) -> str:
    if rate is None or rate < 100_000:
        return number(rate)
    return f"{rate / 1e3:,.0f}k" if rate < 1e8 else f"{rate / 1e6:,.0f}M"


def _below(data: dict[str, Any]) -> list[str]:
    head = data["entries"][data["headline"]]
    said = []
    if head["share"]:
        said.append("answered by: " + ", ".join(f"{plain(s['rung'], 40)} {share(s['share'])} %" for s in head["share"] if s["share"]))
    if head["coverage"] is not None and head["coverage"] < 1:
        wrong = "" if head["answered_error"] is None else f", {share(head['answered_error'])} % of those wrongly"
        said.append(f"answers {share(head['coverage'])} % of the rows{wrong}; abstains from the rest")
    if any(e["retention"] is not None for e in data["entries"]):
        said.append("kept: accuracy as a share of the teacher's; p: exact McNemar test against the teacher")
    if data["certificate"]:
        said.append("certified: " + plain(data["certificate"]["promise"], 1000))
    said += [plain(note, 1000) for note in data["notes"]]
    lines = [part for one in said for part in textwrap.wrap(one, COLUMNS, subsequent_indent="  ")]
    return ["", *lines] if lines else []
