"""understudy train: a labelled file in, a bundle out."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import fields
from typing import Any

import click

from ..recipes.config import TrainConfig
from ..recipes.events import Event

_PARSERS = {"max_error": "parse_share", "test_share": "parse_share", "max_size": "parse_size", "time_budget": "parse_duration",
            "max_latency": "parse_duration"}


def _dials(function: Callable) -> Callable:
    """One flag per field of TrainConfig, with its default and help text."""
    for dial in reversed(fields(TrainConfig)):
        told = dial.metadata
        kind: Any = click.Choice(told["choices"]) if told["choices"] else int if dial.name in ("seed", "threads") else str
        default = None if dial.name in _PARSERS else dial.default
        shown = f"{dial.default}" if dial.name in _PARSERS and dial.default is not None else default is not None
        function = click.option(f"--{dial.name.replace('_', '-')}", dial.name, type=kind, default=default, metavar=told["metavar"],
                                help=told["help"], show_default=shown)(function)
    return function


def _config(given: dict[str, Any]) -> TrainConfig:
    from ..proof import units

    kept = {name: value for name, value in given.items() if value is not None}
    for name, parser in _PARSERS.items():
        if name in kept:
            kept[name] = getattr(units, parser)(kept[name])
    if "max_latency" in kept:
        kept["max_latency"] *= 1000  # parse_duration speaks seconds, the dial milliseconds
    return TrainConfig(**kept)


@click.command()
@click.argument("data")
@click.option("--out", required=True, metavar="DIR", help="Where the bundle goes; an earlier bundle there is replaced.")
@_dials
@click.option("--json", "as_json", is_flag=True, help="One JSON document on standard output.")
def command(data: str, out: str, as_json: bool, **given: Any) -> None:
    """Make a bundle from a labelled file: read, ask the teacher, train, shrink, calibrate, prove.

    Example: understudy train tickets.csv --out support
    """
    config = _config(given)
    from ..recipes.classify import train

    result = train(data, out=out, config=config, listen=_silent if as_json else _Screen().hear)
    if as_json:
        click.echo(json.dumps({"path": str(result.path), "id": result.manifest.id, "seconds": result.seconds, "notes": result.lines,
                               "receipt": result.receipt.data}, ensure_ascii=False))
        return
    click.echo("\n" + result.receipt.table())
    click.echo(f"\n{result.path} is ready ({result.seconds:.0f} s). The receipt: {result.path}/receipt.html")
    click.echo(f'Try: understudy predict {result.path} "…"')


def _silent(event: Event) -> None:
    """Machines get the document at the end."""


class _Screen:
    """Draws events on standard error: lines to keep everywhere, a moving line only on a terminal."""

    def __init__(self) -> None:
        self._moving = sys.stderr.isatty()
        self._drawn = 0

    def hear(self, event: Event) -> None:
        if event.done is None:
            self._wipe()
            click.echo(f"{event.stage:>8}  {event.text}", err=True)
        elif self._moving:
            self._wipe()
            line = f"{event.stage:>8}  {event.done:4.0%}  {event.text}"
            click.echo(line, err=True, nl=False)
            self._drawn = len(line)

    def _wipe(self) -> None:
        if self._drawn:
            click.echo("\r" + " " * self._drawn + "\r", err=True, nl=False)
            self._drawn = 0
