"""Turns results.jsonl and the saved predictions into README.md."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from stats import mcnemar

OURS = "ours"
Rows = list[dict[str, Any]]


def write_report(out: Path, results: Rows, environment: dict[str, Any], gold: dict[str, list[str]], outside: str) -> None:
    """Writes `out`/README.md from the newest row of each (data, contender, seed)."""
    parts = [_head(environment, results)]
    for data in dict.fromkeys(row["data"] for row in results):
        rows = [row for row in results if row["data"] == data]
        parts += [f"## {data}\n", _facts(rows), _main_table(rows), _paired(out, rows, gold.get(data, []), outside),
                  _receipts(rows), _failures(rows)]
    (out / "README.md").write_text("\n".join(part for part in parts if part), encoding="utf-8")


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table; the first column is text, the others are figures."""
    lines = ["| " + " | ".join(head) + " |", "|---|" + "---:|" * (len(head) - 1)]
    return "\n".join([*lines, *("| " + " | ".join(row) + " |" for row in rows)]) + "\n"


def _head(environment: dict[str, Any], results: Rows) -> str:
    machine = environment["machine"]
    quick = "\n**A quick run on small samples: it shows that everything works, the figures mean nothing.**\n"
    return f"""# Classification bench, {environment['date'][:10]}
{quick if environment['quick'] else ''}
{machine['cpu']}, {machine['cores']} cores, {machine['memory_gb']} GB; Python {environment['python']}; \
{environment['train_threads']} threads to train, {environment['threads']} to answer; load when it began: \
{machine['load_at_start']:.1f}.

    {environment['command']}

Every contender trains on the training file alone and is measured on the test file, in two processes of its own: one \
fits and saves, one loads and answers. Settings are chosen on the training file (cross-validation or a tenth of it); the \
seconds for that stand apart. A seed is varied where it changes the result: mean ± standard deviation over seeds; \
otherwise the 95 % Wilson interval of the test set. MB is what must be on disk to answer, without Python packages. \
Milliseconds are per text at batch 1, tokenising included; rows/s is the whole test set in one call. RAM is the peak of \
a process that answers one text at a time, Python and libraries included. One teacher head is run three ways; the \
int8 encoder answers with the head fitted on float32.

`results.jsonl` holds every run, `predictions/` (too large to commit) the probabilities (float16) with the best label (from float32), \
`env.json` the machine and versions.
"""


def _facts(rows: Rows) -> str:
    first = rows[0]
    extra = ""
    if "outside_rows" in first:
        extra = (f" Accuracy is of the {first['rows']:,} in-scope rows; out-of-scope recall of the other "
                 f"{first['outside_rows']:,}; macro-F1 of all.")
    return f"{first['train_rows']:,} rows to train, {first['test_rows']:,} to test, {first['classes']} classes.{extra}\n"


def _good(rows: Rows) -> dict[str, Rows]:
    kept: dict[str, Rows] = defaultdict(list)
    for row in rows:
        if "error" not in row:
            kept[row["contender"]].append(row)
    return kept


def _mean(rows: Rows, key: str) -> float:
    return float(np.mean([row[key] for row in rows]))


def _share(rows: Rows, key: str, low: str = "", high: str = "") -> str:
    mean = 100 * _mean(rows, key)
    if len(rows) > 1:
        return f"{mean:.2f} ± {100 * float(np.std([row[key] for row in rows], ddof=1)):.2f} ({len(rows)} seeds)"
    return f"{mean:.2f}" + (f" [{100 * rows[0][low]:.1f}, {100 * rows[0][high]:.1f}]" if low else "")


def _main_table(rows: Rows) -> str:
    groups = sorted(_good(rows).values(), key=lambda group: -_mean(group, "accuracy"))
    scoped = any("outside_recall" in row for row in rows)
    head = ["contender", "accuracy %", *(["out-of-scope recall %"] if scoped else []), "macro-F1 %", "MB", "p50 ms",
            "p95 ms", "rows/s", "RAM MB", "train s", "choosing s"]
    lines = []
    for group in groups:
        title = group[0]["title"]
        lines.append([f"**{title}**" if group[0]["contender"].startswith(OURS) else title,
                      _share(group, "accuracy", "low", "high"), *([_share(group, "outside_recall")] if scoped else []),
                      _share(group, "macro_f1"), f"{_mean(group, 'bytes') / 1e6:.2f}", f"{_mean(group, 'p50_ms'):.3f}",
                      f"{_mean(group, 'p95_ms'):.3f}", f"{_mean(group, 'rows_per_second'):,.0f}",
                      f"{_mean(group, 'single_peak_bytes') / 1e6:.0f}", f"{_mean(group, 'fit_seconds'):.1f}",
                      f"{_mean(group, 'tune_seconds'):.0f}"])
    return table(head, lines)


def right(out: Path, row: dict[str, Any], gold: Sequence[str], outside: str) -> np.ndarray:
    """Right or wrong for each row that accuracy counts, from the saved predictions."""
    with np.load(out / row["predictions"]) as kept:
        said = kept["labels"][kept["best"]]
    truth = np.asarray(gold)
    return (said == truth)[truth != outside]


def _paired(out: Path, rows: Rows, gold: Sequence[str], outside: str) -> str:
    good = _good(rows)
    mine = good.get(OURS, [])
    theirs = {name: group for name, group in good.items() if name != OURS}
    if not mine or not theirs:
        return ""
    best = max(theirs.values(), key=lambda group: _mean(group, "accuracy"))
    by_seed = {row["seed"]: row for row in best}
    lines = []
    for row in mine:
        peer = by_seed.get(row["seed"], best[0])
        won, lost, p = mcnemar(right(out, row, gold, outside), right(out, peer, gold, outside))
        lines.append([f"seed {row['seed']}", str(won), str(lost), f"{p:.2g}"])
    return (f"Ours against the best peer, {best[0]['title']} (McNemar, exact):\n\n"
            + table(["run", "only ours right", "only the peer right", "p"], lines))


def _receipts(rows: Rows) -> str:
    """Each part of ours by (name, role, precision), over the seeds; speeds are the receipt's own measurements."""
    parts: dict[tuple[str, str, str], Rows] = defaultdict(list)
    for row in _good(rows).get(OURS, []):
        for entry in row.get("receipt", []):
            parts[entry["name"], entry["role"], entry["precision"]].append(entry)
    if not parts:
        return ""
    head = ["part", "accuracy %", "macro-F1 %", "% of the teacher", "MB", "p50 ms", "p95 ms", "mean ms", "rows/s", "RAM MB"]
    lines = []
    for (name, role, precision), found in parts.items():
        flat = [{"accuracy": e["accuracy"]["value"], "low": e["accuracy"]["low"], "high": e["accuracy"]["high"],
                 "macro_f1": e["macro_f1"]["value"], "retention": e.get("retention"), "bytes": e.get("bytes"),
                 **(e.get("speed") or {})} for e in found]
        lines.append([f"{name} ({role}, {precision})", _share(flat, "accuracy", "low", "high"), _share(flat, "macro_f1"),
                      _known(flat, "retention", 100, 1), _known(flat, "bytes", 1e-6, 2), _known(flat, "p50_ms", 1, 3),
                      _known(flat, "p95_ms", 1, 3), _known(flat, "mean_ms", 1, 3), _known(flat, "rows_per_s", 1, 0),
                      _known(flat, "rss_mb", 1, 0)])
    return "The parts of ours, as the receipts of these bundles give them (accuracy of all test rows):\n\n" + table(head, lines)


def _known(rows: Rows, key: str, times: float, digits: int) -> str:
    values = [row[key] for row in rows if row.get(key) is not None]
    return f"{times * float(np.mean(values)):,.{digits}f}" if values else "–"


def _failures(rows: Rows) -> str:
    return "".join(f"- {row['title']}, seed {row['seed']}, did not run: {row['error'].splitlines()[0][:300]}\n"
                   for row in rows if "error" in row)
