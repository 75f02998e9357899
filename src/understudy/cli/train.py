"""understudy train: data files in, a bundle out."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import Field, fields
from typing import Any

import click

from ..errors import UsageError
from ..recipes.config import TrainConfig
from ..recipes.events import Event
from ..recipes.text.config import TASKS, TextConfig
from .progress import Moving

_PARSERS = {**dict.fromkeys(("max_error", "test_share", "dropout", "smoothing", "keep_width", "distil_share"), "parse_share"), "max_size": "parse_size",
            **dict.fromkeys(("time_budget", "max_latency"), "parse_duration")}
_WHOLE = ("seed", "threads", "pieces", "context", "keep_layers", "distil_top")


def _shared() -> dict[str, list[Field]]:
    """Every dial by name, with the one or two configs that have it."""
    found: dict[str, list[Field]] = {}
    for config in (TrainConfig, TextConfig):
        for dial in fields(config):
            found.setdefault(dial.name, []).append(dial)
    return found


def _dials(function: Callable) -> Callable:
    """One flag per dial, with its default and help text; a flag of both configs lists the choices of both."""
    writing = {dial.name for dial in fields(TextConfig)}
    sorting = {dial.name for dial in fields(TrainConfig)}
    for name, dials in reversed(_shared().items()):
        told = dials[0].metadata
        choices = tuple(dict.fromkeys(choice for dial in dials for choice in dial.metadata["choices"]))
        kind: Any = click.Choice(choices) if choices else int if name in _WHOLE else float if name == "epochs" else str
        only = "" if name in writing & sorting else " (classify)" if name in sorting else " (text tasks)"
        helps = list(dict.fromkeys(dial.metadata["help"] for dial in dials))
        text = helps[0] if len(helps) == 1 else f"{helps[0]} Text tasks: {helps[1]}"
        shown = {str(dial.default) for dial in dials if dial.default is not None}
        if isinstance(dials[0].default, bool):
            function = click.option(f"--{name.replace('_', '-')}", name, is_flag=True, default=None, help=text + only)(function)
            continue
        function = click.option(f"--{name.replace('_', '-')}", name, type=kind, default=None, metavar=told["metavar"], help=text + only,
                                show_default=shown.pop() if len(shown) == 1 else False)(function)
    return function


def _config(task: str, given: dict[str, Any]) -> Any:
    from .. import units

    config = TrainConfig if task == "classify" else TextConfig
    known = {dial.name: dial for dial in fields(config)}
    kept = {name: value for name, value in given.items() if value is not None}
    for name in kept:
        if name not in known:
            raise UsageError(f"--{name.replace('_', '-')} is no flag of the task {task}", hint="understudy train --help says which flags are for which")
        choices = known[name].metadata["choices"]
        if choices and kept[name] not in choices:
            raise UsageError(f"--{name.replace('_', '-')} is {kept[name]!r}", hint=f"for the task {task} one of {', '.join(choices)}")
    for name, parser in _PARSERS.items():
        if name in kept:
            kept[name] = getattr(units, parser)(kept[name])
    if "max_latency" in kept:
        kept["max_latency"] *= 1000  # parse_duration speaks seconds, the dial milliseconds
    return config(**kept)


@click.command()
@click.argument("data", nargs=-1, required=True)
@click.option("--out", required=True, metavar="DIR", help="Where the bundle goes; an earlier bundle there is replaced.")
@click.option("--task", type=click.Choice(["classify", *TASKS]), default="classify", show_default=True, help="What the model is for.")
@_dials
@click.option("--json", "as_json", is_flag=True, help="One JSON document on standard output.")
def command(data: tuple[str, ...], out: str, task: str, as_json: bool, **given: Any) -> None:
    """Make a bundle from data files: read, ask the teacher, train, shrink, calibrate, prove.

    Example: understudy train tickets.csv --out support

    Example: understudy train pairs.tsv --task translate --source en --target de --out en-de
    """
    config = _config(task, given)
    from ..recipes.training import train

    screen = _Screen()
    try:
        result = train(list(data), out=out, task=task, config=config, listen=_silent if as_json else screen.hear)
    finally:
        screen.moving.wipe()
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
        self.moving = Moving()

    def hear(self, event: Event) -> None:
        if event.done is None:
            self.moving.wipe()
            click.echo(f"{event.stage:>8}  {event.text}", err=True)
        else:
            self.moving.hear(event)
