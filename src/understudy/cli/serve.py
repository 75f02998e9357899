"""understudy serve: bundles behind HTTP."""

from __future__ import annotations

import json
from dataclasses import fields
from pathlib import Path
from typing import Any

import click

from ..errors import UsageError, missing_extra
from ..serve.config import ServeConfig, Served, flag, from_environment, from_file, parsed, twin


def _dials(function: Any) -> Any:
    """One flag per dial, with its default, its help text and its twin in the environment."""
    for one in reversed(fields(ServeConfig)):
        text = f"{one.metadata['help']} [{twin(one.name)}]"
        if isinstance(one.default, bool):
            function = click.option(f"{flag(one.name)}/--no-{flag(one.name)[2:]}", one.name, default=None, help=text)(function)
            continue
        shown = one.default if one.default is not None else False
        function = click.option(flag(one.name), one.name, default=None, metavar=one.metadata["metavar"], help=text, show_default=str(shown) if shown else False)(function)
    return function


@click.command()
@click.argument("bundles", nargs=-1)
@click.option("--config", "source", metavar="FILE", help="A fleet.toml: [serve] with these dials, [models.NAME] with path, aliases and pin.")
@click.option("--make-key", metavar="NAME", help="Print a new API key and the line for the file of --keys, and end.")
@click.option("--scopes", metavar="LIST", help="What the new key may do, with commas: infer, metrics, admin.")
@_dials
@click.option("--json", "as_json", is_flag=True, help="One JSON document when the service answers.")
def command(bundles: tuple[str, ...], source: str | None, make_key: str | None, scopes: str | None, as_json: bool, **given: Any) -> None:
    """Serve bundles over HTTP: OpenAI's shapes, text-embeddings-inference's, LibreTranslate's and our own.

    Flags come before the environment, the environment before fleet.toml.

    Example: understudy serve support/ reviews/

    Example: understudy serve --models bundles/ --memory 2GB
    """
    if scopes is not None and make_key is None:
        raise UsageError("--scopes says what a new key may do, and no --make-key is given")
    dials, served = from_file(source) if source else ({}, [])
    dials |= from_environment()
    dials |= {name: parsed(name, value) for name, value in given.items() if value is not None}
    config = ServeConfig(**dials)
    served += [Served(Path(one).resolve().name, Path(one)) for one in bundles]
    try:
        from ..serve.keys import made_key
        from ..serve.server import serve
    except ModuleNotFoundError as problem:
        raise missing_extra(f"serving ({problem.name})", "serve") from None
    if make_key is not None:
        plain, line = made_key(make_key, scopes or "infer")
        click.echo(json.dumps({"key": plain, "line": line}) if as_json else f"{plain}\n{line}")
        return

    def told(address: str, names: list[str]) -> None:
        if as_json:
            click.echo(json.dumps({"address": address, "models": names}))
        else:
            click.echo(f"{address} answers for {', '.join(names)}. Ctrl-C ends it.")

    serve(config, served, told=told)
