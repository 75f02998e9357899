"""A line that moves on standard error while something works: drawn on a terminal, silent in a pipe."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Self

import click

if TYPE_CHECKING:
    from ..recipes.events import Event

_WIDE = 14


class Moving:
    """One line that is drawn over itself, and gone where a `with` block ends; a text wider than the terminal is cut, since a wrapped line cannot be wiped."""

    def __init__(self) -> None:
        self.on = sys.stderr.isatty()
        self._drawn = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.wipe()

    def show(self, text: str) -> None:
        """Draws `text` in place of what stood there; nothing where nobody looks."""
        if self.on:
            columns = _columns() - 1
            self.wipe()
            click.echo(text if len(text) <= columns else text[: columns - 1] + "…", err=True, nl=False)
            self._drawn = True

    def wipe(self) -> None:
        """Takes the line away."""
        if self._drawn:
            click.echo("\r\x1b[K", err=True, nl=False)
            self._drawn = False

    def hear(self, event: Event) -> None:
        """Draws what a recipe says, and lets go of what it would keep."""
        self.show(f"{event.stage:>8}  " + (f"{bar(event.done)}  " if event.done is not None else "") + event.text)


def _columns() -> int:
    try:
        found = os.get_terminal_size(sys.stderr.fileno()).columns
    except (OSError, ValueError):
        found = 0
    return max(20, found) if found else 80


def bar(share: float) -> str:
    """`[####----------]  25%`"""
    done = round(min(1.0, max(0.0, share)) * _WIDE)
    return f"[{'#' * done}{'-' * (_WIDE - done)}] {share:4.0%}"
