"""A dial: a field of a frozen dataclass that carries its own help text, so that flags, environment names and docs have one source."""

from __future__ import annotations

from dataclasses import field
from typing import Any


def dial(default: Any, text: str, *, metavar: str | None = None, choices: tuple[str, ...] = (), **more: Any) -> Any:
    """A dataclass field with its help text, the name of its value, its choices and what else a reader of dials wants to know."""
    return field(default=default, metadata={"help": text, "metavar": metavar, "choices": choices, **more})
