"""Writes docs/cli.md, docs/config.md and docs/errors.md from the code itself. `--check` only compares, exit 1 on a difference."""

from __future__ import annotations

import sys
from dataclasses import fields
from pathlib import Path

import click

from understudy import errors
from understudy.cli import VERBS, group
from understudy.recipes.config import TrainConfig

DOCS = Path(__file__).resolve().parent.parent / "docs"
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
    rows = ["| dial | default | what it does |", "|---|---|---|"]
    for dial in fields(TrainConfig):
        shown = "–" if dial.default is None else f"`{dial.default}`"
        choices = f" One of {', '.join(dial.metadata['choices'])}." if dial.metadata["choices"] else ""
        rows.append(f"| `{dial.name}` | {shown} | {dial.metadata['help']}{choices} |")
    return HEAD + "# The dials of `train`\n\nIn Python: `understudy.train(data, out=..., config=TrainConfig(...))`. On the command line: " \
        "`--name-with-dashes`, where sizes, times and shares are written as `5MB`, `10m`, `1ms`, `5%`.\n\n" + "\n".join(rows) + "\n"


def errors_page() -> str:
    """The error tree."""
    return HEAD + f"# Errors\n\n```text\n{(errors.__doc__ or '').strip()}\n```\n"


PAGES = {"cli.md": cli_page, "config.md": config_page, "errors.md": errors_page}


def main() -> int:
    """Writes, or with --check compares; the number of pages that differ."""
    stale = 0
    for name, page in PAGES.items():
        path, text = DOCS / name, page()
        if not path.exists() or path.read_text("utf-8") != text:
            stale += 1
            if "--check" not in sys.argv:
                DOCS.mkdir(exist_ok=True)
                path.write_text(text, "utf-8")
    return stale if "--check" in sys.argv else 0


if __name__ == "__main__":
    sys.exit(main())
