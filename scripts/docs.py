"""Writes docs/cli.md, docs/config.md, docs/errors.md and the README's table of results from the code and the records.

`--check` only compares, exit 1 on a difference.
"""

from __future__ import annotations

import json
import sys
from dataclasses import fields
from pathlib import Path
from statistics import stdev

import click

from understudy import errors
from understudy.cli import VERBS, group
from understudy.recipes.config import TrainConfig
from understudy.recipes.text.config import TextConfig
from understudy.serve.config import ServeConfig, twin

ROOT = Path(__file__).resolve().parent.parent
OUT = ROOT
BENCH = "records/2026-11-25-banking77"
OTHERS = "records/2026-11-25-others"
HEAD = "<!-- Written by `make docs`; change the code, not this page. -->\n\n"


def cli_page() -> str:
    """Every verb's --help."""
    parts = [HEAD + "# Command line\n"]
    for name in VERBS:
        command = group.get_command(click.Context(group), name)
        assert command is not None
        context = click.Context(command, info_name=f"understudy {name}", terminal_width=100, max_content_width=100)
        parts.append(f"## understudy {name}\n\n```text\n{command.get_help(context)}\n```\n")
    return "\n".join(parts)


def config_page() -> str:
    """The dials of `train`."""
    return HEAD + "# The dials of `train`\n\nIn Python: `understudy.train(data, out=..., config=TrainConfig(...))`. On the command line: " \
        "`--name-with-dashes`, where sizes, times and shares are written as `5MB`, `10m`, `1ms`, `5%`.\n\n" + _dials(TrainConfig) \
        + "\n## Tasks that write text\n\n`--task translate|summarize|generate|lm|chat`; in Python: " \
          "`understudy.train(data, task=..., out=..., config=TextConfig(...))`.\n\n" + _dials(TextConfig) \
        + "\n# The dials of `serve`\n\nAs a flag, in the environment, or in the part `[serve]` of a fleet.toml; the first of them that is given counts.\n\n" + _served()


def _served() -> str:
    rows = ["| dial | default | environment | what it does |", "|---|---|---|---|"]
    for dial in fields(ServeConfig):
        rows.append(f"| `{dial.name}` | {'–' if dial.default is None else f'`{dial.default}`'} | `{twin(dial.name)}` | {dial.metadata['help']} |")
    return "\n".join(rows) + "\n"


def _dials(config: type) -> str:
    rows = ["| dial | default | what it does |", "|---|---|---|"]
    for dial in fields(config):
        shown = "–" if dial.default is None else f"`{dial.default}`"
        choices = f" One of {', '.join(dial.metadata['choices'])}." if dial.metadata["choices"] else ""
        rows.append(f"| `{dial.name}` | {shown} | {dial.metadata['help']}{choices} |")
    return "\n".join(rows) + "\n"


def errors_page() -> str:
    """The error tree."""
    return HEAD + f"# Errors\n\n```text\n{(errors.__doc__ or '').strip()}\n```\n"


def readme() -> str:
    """The README with the table of results between its two marks, from the newest record of the bench."""
    text = (ROOT / "README.md").read_text("utf-8")
    head, _, rest = text.partition("<!-- results -->\n")
    return f"{head}<!-- results -->\n{results()}{rest[rest.index('<!-- /results -->'):]}"


def results() -> str:
    """Banking77: every contender, means over its seeds; ours with the rungs it is made of."""
    groups = _runs(BENCH)
    rows = [(_mean(group, "accuracy"), _line(name, group)) for name, group in groups.items()]
    rows += [(score, line) for score, line in _rungs(groups["ours"])]
    table = "\n".join(line for _, line in sorted(rows, key=lambda row: -row[0]))
    return ("| Banking77, 10,003 rows to train, 3,080 to test, 77 labels; one CPU thread | accuracy % | MB | ms a request, mean | training, s |\n"
            f"|---|---:|---:|---:|---:|\n{table}\n\n"
            f"Five seeds where a seed matters, ± is their standard deviation; every figure, interval and paired test, and the command: [{BENCH}]({BENCH}/README.md).\n\n" + _others())


def _runs(record: str, data: str | None = None) -> dict[str, list[dict]]:
    """The runs that worked, by contender."""
    groups: dict[str, list[dict]] = {}
    for line in (ROOT / record / "results.jsonl").read_text("utf-8").splitlines():
        run = json.loads(line)
        if "error" not in run and data in (None, run["data"]):
            groups.setdefault(run["contender"], []).append(run)
    return groups


def _others() -> str:
    """Ours beside the best peer on the other data sets."""
    rows = []
    for data, name in (("clinc150", "CLINC150, in scope"), ("pros-cons", "Pros and cons of products"), ("goemotions", "GoEmotions, 3 moods")):
        groups = _runs(OTHERS, data)
        best = max((group for key, group in groups.items() if key != "ours"), key=lambda group: _mean(group, "accuracy"))
        ours = groups["ours"]
        rows.append(f"| {name} | **{100 * _mean(ours, 'accuracy'):.2f}** | {_mean(ours, 'bytes') / 1e6:.0f} | {_mean(ours, 'mean_ms'):.2f} "
                    f"| {100 * _mean(best, 'accuracy'):.2f}, {best[0]['title']} |")
    return ("| one seed each | Understudy, accuracy % | MB | ms a request, mean | best peer, accuracy % |\n|---|---:|---:|---:|---|\n" + "\n".join(rows)
            + f"\n\nThe same peers, intervals and paired tests: [{OTHERS}]({OTHERS}/README.md).\n")


def _mean(group: list[dict], key: str) -> float:
    return sum(run[key] for run in group) / len(group)


def _line(name: str, group: list[dict]) -> str:
    spread = f" ± {100 * stdev([run['accuracy'] for run in group]):.2f}" if len(group) > 1 else ""
    cells = (f"{100 * _mean(group, 'accuracy'):.2f}{spread}", f"{_mean(group, 'bytes') / 1e6:.1f}", f"{_mean(group, 'mean_ms'):.2f}",
             f"{_mean(group, 'fit_seconds'):.0f}")
    title = "**Understudy, the whole cascade**" if name == "ours" else group[0]["title"]
    return f"| {title} | " + " | ".join(f"**{cell}**" if name == "ours" else cell for cell in cells) + " |"


def _rungs(group: list[dict]) -> list[tuple[float, str]]:
    found: dict[str, list[dict]] = {}
    for run in group:
        for entry in run["receipt"]:
            if entry["role"] == "rung" and entry["precision"] != "float32":
                found.setdefault(entry["name"], []).append(entry)
    out = []
    for name, entries in found.items():
        scores = [entry["accuracy"]["value"] for entry in entries]
        milliseconds = sum(entry["speed"]["mean_ms"] for entry in entries) / len(entries)
        spread = f" ± {100 * stdev(scores):.2f}" if len(scores) > 1 and stdev(scores) else ""
        size = sum(entry["bytes"] for entry in entries) / len(entries) / 1e6
        mean = sum(scores) / len(scores)
        out.append((mean, f"| Understudy, its rung `{name}` | {100 * mean:.2f}{spread} | {size:.1f} | {milliseconds:.2f} | |"))
    return out


PAGES = {"docs/cli.md": cli_page, "docs/config.md": config_page, "docs/errors.md": errors_page, "README.md": readme}


def main() -> int:
    """Writes, or with --check compares; the number of pages that differ."""
    stale = 0
    for name, page in PAGES.items():
        path, text = OUT / name, page()
        if not path.exists() or path.read_text("utf-8") != text:
            stale += 1
            if "--check" not in sys.argv:
                path.parent.mkdir(exist_ok=True)
                path.write_text(text, "utf-8")
    return stale if "--check" in sys.argv else 0


if __name__ == "__main__":
    sys.exit(main())
