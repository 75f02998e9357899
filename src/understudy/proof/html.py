"""The receipt as one page: opens offline, follows light and dark, fits a phone, runs no script, asks nobody for anything.

Every string that came from outside goes through `say`, which cleans, cuts and escapes it.
"""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence
from importlib import resources
from typing import Any

from ..units import show_size
from . import plots
from .plain import number, p_value, plain, seconds, share

POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
MOST_ROWS = 300
MOST_ENTRIES = 60
ROLES = {"teacher": "teacher", "rung": "rung", "cascade": "cascade", "peer": "peer"}


def say(value: object, most: int = 120) -> str:
    """A stranger's string, cleaned, cut to `most` characters and escaped."""
    return html.escape(plain(value, most), quote=True)


def render_page(data: dict[str, Any]) -> str:
    """The page of a checked receipt's `data`."""
    body = "\n".join(part for part in (_header(data), _tiles(data), _certificate(data), _results(data), _figures(data),
                                       _confused(data), _lengths(data), _labels(data), _facts(data), _notes(data)) if part)
    return page(f"{say(data['name'])}: receipt", body)


def page(title: str, body: str) -> str:
    """A whole document of a `title` and a `body` that are safe already: no script, nothing from anywhere else, light and dark."""
    css = resources.files(__package__).joinpath("receipt.css").read_text(encoding="utf-8")
    return (f'<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
            f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">\n'
            f'<meta name="viewport" content="width=device-width, initial-scale=1">\n'
            f'<meta name="color-scheme" content="light dark">\n<meta name="referrer" content="no-referrer">\n'
            f"<title>{title}</title>\n<style>\n{css}</style>\n</head>\n<body>\n<main>\n{body}\n</main>\n</body>\n</html>\n")


def _header(data: dict[str, Any]) -> str:
    return (f'<header><p class="kind">Receipt</p><h1>{say(data["name"])}</h1><p class="lead">{say(data["task"])}, '
            f'{len(data["labels"]):,} labels, measured on {data["rows"]:,} test rows that nothing was tuned on.</p></header>')


def _tiles(data: dict[str, Any]) -> str:
    head = data["entries"][data["headline"]]
    score, speed = head["accuracy"], head["speed"]
    tiles = [("Accuracy", f"{share(score['value'])}<small>%</small>", f"95 %: {share(score['low'])}–{share(score['high'])}")]
    if head["retention"] is not None:
        tiles.append(("Of the teacher", f"{share(head['retention'])}<small>%</small>", f"p = {p_value(head['versus_teacher']['p'])}"
                      if head["versus_teacher"] else "kept"))
    if head["bytes"] is not None:
        value, unit = show_size(head["bytes"]).split()
        tiles.append(("Size", f"{value}<small>{unit}</small>", "with its tokenizer"))
    if speed:
        tiles.append(("Per request", f"{number(speed['p50_ms'])}<small>ms</small>", f"median; p95 {number(speed['p95_ms'], 2)} ms"))
    if head["coverage"] is not None and head["coverage"] < 1:
        tiles.append(("Answered", f"{share(head['coverage'])}<small>%</small>",
                      f"{share(head['answered_error'])} % of those wrongly" if head["answered_error"] is not None else "of the rows"))
    inner = "".join(f"<div><dt>{name}</dt><dd><b>{value}</b><span>{note}</span></dd></div>" for name, value, note in tiles)
    return f'<dl class="tiles" aria-label="{say(head["name"])} at a glance">{inner}</dl>'


def _certificate(data: dict[str, Any]) -> str:
    given = data["certificate"]
    if not given:
        return ""
    return (f'<section class="promise"><h2>Certified</h2><p>{say(given["promise"], 600).replace(" %", "&nbsp;%")}</p><p class="fine">Valid for key '
            f'<code>{say(given["key"][:16] or "none")}</code> and traffic like the {given["n"]:,} rows it was tested on; '
            "void after any change.</p></section>")


def _results(data: dict[str, Any]) -> str:
    shown = data["entries"][:MOST_ENTRIES]
    head = ('<span class="rank">#</span>', "Model", "Accuracy", "95 %", "F1", "Kept", "p", "ECE", "MB", "p50 ms", "p95 ms", "Rows/s", "RAM MB", "Training")
    rows = [_result(i, e) for i, e in enumerate(shown)]
    return (f'<section><h2>Results</h2>{_table("Every model on the same test rows", head, rows, mark=data["headline"], names=2)}'
            f'<p class="fine">Accuracy, F1 (macro) and kept in percent. Kept: accuracy as a share of the teacher’s. p: exact McNemar test '
            f"against the teacher on the same rows. ECE: calibration error, in points. Times are single requests{_threads(data)}.</p>{_shares(data)}</section>")


def _result(i: int, e: dict[str, Any]) -> tuple[str, ...]:
    speed, role = e["speed"] or {}, ROLES.get(e["role"], "peer")
    return (f'<span class="rank">{i + 1}</span>', f'<i class="dot {role}"></i>{say(e["name"], 60)} <span class="tag">{say(e["precision"], 20)}</span>',
            share(e["accuracy"]["value"]), f"{share(e['accuracy']['low'])}–{share(e['accuracy']['high'])}",
            share(e["macro_f1"]["value"]), share(e["retention"]), say(p_value((e["versus_teacher"] or {}).get("p"))),
            share(e["ece"]), "–" if e["bytes"] is None else number(e["bytes"] / 1e6), number(speed.get("p50_ms"), 2),
            number(speed.get("p95_ms"), 2), number(speed.get("rows_per_s")),
            number(speed.get("rss_mb")), seconds(e["train_seconds"]))


def _threads(data: dict[str, Any]) -> str:
    used = {e["speed"]["threads"] for e in data["entries"] if e["speed"]}
    if len(used) != 1:
        return ""
    threads = used.pop()
    return " on one thread" if threads == 1 else f" on {threads} threads"


def _shares(data: dict[str, Any]) -> str:
    parts = data["entries"][data["headline"]]["share"]
    if not parts:
        return ""
    rows = [(say(p["rung"], 60), share(p["share"]), share(p["accuracy"])) for p in parts[:MOST_ENTRIES] if p["share"]]
    return "<h3>Who answered</h3>" + _table("Share of the rows each rung answered", ("Rung", "Answered, %", "Right, %"), rows)


def _figures(data: dict[str, Any]) -> str:
    if not plots.can_plot():
        return ('<section><h2>Figures</h2><p class="fine">No plots: they need the extra <code>train</code> '
                "(<code>pip install 'understudy[train]'</code>). Every figure’s numbers are in receipt.json.</p></section>")
    drawn = (("Quality against cost", plots.quality_cost(data), "Accuracy and its 95 % interval. Up and to the left is better."),
             ("Risk and coverage", plots.risk_coverage(data), "Answering only the surest rows. Lower is better."),
             ("Reliability", plots.reliability(data), "On the dashed line, confidence is honest."))
    figures = "".join(f"<figure><h3>{title}</h3>{svg}<figcaption>{note}</figcaption></figure>" for title, svg, note in drawn if svg)
    key = "".join(f'<li><i class="dot {ROLES.get(e["role"], "peer")}"></i>{say(e["name"], 40)} <span class="tag">{say(e["precision"], 20)}</span></li>'
                  for e in data["entries"][:MOST_ENTRIES])
    return f'<section><h2>Figures</h2><div class="figures">{figures}<div class="key"><h3>Numbers in the figures</h3><ol>{key}</ol></div></div></section>'


def _confused(data: dict[str, Any]) -> str:
    if not data["confused"]:
        return ""
    rows = []
    for pair in data["confused"][:MOST_ROWS]:
        told = "".join(f"<q>{say(text, 200)}</q>" for text in list(pair.get("examples") or ())[:2])
        rows.append((say(pair["gold"], 60), say(pair["answered"], 60) + told, f"{pair['count']:,}", f"{pair['of']:,}"))
    return ("<section><h2>Where it goes wrong</h2>"
            + _table("Most frequent confusions", ("Gold label", "Answered", "Rows", "Of"), rows, names=2) + "</section>")


def _lengths(data: dict[str, Any]) -> str:
    rows = [(f"{s['shortest']:,}–{s['longest']:,}", f"{s['rows']:,}", share(s["accuracy"]["value"]),
             f"{share(s['accuracy']['low'])}–{share(s['accuracy']['high'])}") for s in data["slices"]["lengths"][:MOST_ROWS]]
    return ("<section><h2>By length</h2>" + _table("Accuracy by text length", ("Characters", "Rows", "Accuracy, %", "95 %"), rows)
            + "</section>") if rows else ""


def _labels(data: dict[str, Any]) -> str:
    weakest = sorted((s for s in data["slices"]["labels"] if s["support"]), key=lambda s: (s["f1"], s["label"]))
    rows = [(say(s["label"], 60), share(s["f1"]), share(s["precision"]), share(s["recall"]), f"{s['support']:,}") for s in weakest[:MOST_ROWS]]
    if not rows:
        return ""
    table = _table("Scores by label, weakest first", ("Label", "F1", "Precision", "Recall", "Rows"), rows)
    more = f'<p class="fine">{len(weakest) - len(rows):,} more in receipt.json.</p>' if len(weakest) > len(rows) else ""
    return f"<section><h2>By label</h2><details><summary>{len(weakest):,} labels, weakest first</summary>{table}{more}</details></section>"


def _facts(data: dict[str, Any]) -> str:
    parts = []
    for title, key in (("Machine", "machine"), ("Data", "data"), ("Provenance", "provenance")):
        facts = [(k, v) for k, v in _flat(data[key]) if v is not None][:100]
        if facts:
            inner = "".join(f"<dt>{say(k, 60)}</dt><dd>{say(v, 200)}</dd>" for k, v in facts)
            parts.append(f"<div><h3>{title}</h3><dl>{inner}</dl></div>")
    seed = f"<div><h3>Seed</h3><dl><dt>seed</dt><dd>{data['seed']}</dd></dl></div>"
    return f'<section><h2>How it was measured</h2><div class="facts">{"".join(parts)}{seed}</div></section>'


def _flat(value: dict[str, Any], before: str = "", depth: int = 0) -> list[tuple[str, Any]]:
    """Nested objects as dotted names, three levels deep; what lies deeper is shown as text."""
    found: list[tuple[str, Any]] = []
    for key, inner in list(value.items())[:100]:
        if isinstance(inner, dict) and depth < 3:
            found += _flat(inner, f"{before}{key}.", depth + 1)
        else:
            found.append((f"{before}{key}", ", ".join(str(v) for v in inner[:50]) if isinstance(inner, list) else inner))
    return found


def _notes(data: dict[str, Any]) -> str:
    if not data["notes"]:
        return ""
    return "<section><h2>Notes</h2><ul>" + "".join(f"<li>{say(n, 600)}</li>" for n in data["notes"][:50]) + "</ul></section>"


def _table(caption: str, head: Sequence[str], rows: Iterable[Sequence[str]], *, mark: int = -1, names: int = 1) -> str:
    """A table in a box of its own that scrolls sideways; the cells are finished HTML, the first `names` columns words."""
    heads = "".join(f'<th scope="col"{_left(i, names)}>{h}</th>' for i, h in enumerate(head))
    lines = []
    for at, row in enumerate(rows):
        cells = "".join(f'<th scope="row"{_left(i, names)}>{c}</th>' if i == names - 1 else f"<td{_left(i, names)}>{c}</td>"
                        for i, c in enumerate(row))
        lines.append(f"<tr{' class=mark' if at == mark else ''}>{cells}</tr>")
    return (f'<div class="scroll" role="region" aria-label="{caption}" tabindex="0"><table><caption>{caption}</caption>'
            f"<thead><tr>{heads}</tr></thead><tbody>{''.join(lines)}</tbody></table></div>")


def _left(i: int, names: int) -> str:
    return ' class="word"' if i < names else ""
