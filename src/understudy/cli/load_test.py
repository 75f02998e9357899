"""understudy load-test: latency against rate, of a server of its own."""

from __future__ import annotations

import json
from dataclasses import fields
from typing import Any

import click

from ..errors import missing_extra
from ..serve.config import LoadConfig, flag


def _dials(function: Any) -> Any:
    for one in reversed(fields(LoadConfig)):
        function = click.option(flag(one.name), one.name, type=type(one.default), default=one.default, metavar=one.metadata["metavar"],
                                help=one.metadata["help"], show_default=True)(function)
    return function


@click.command()
@click.argument("bundle")
@_dials
@click.option("--json", "as_json", is_flag=True, help="One JSON document.")
def command(bundle: str, as_json: bool, **given: Any) -> None:
    """Serve a bundle on a port of its own and measure latency against rate on this machine.

    Example: understudy load-test support
    """
    try:
        from ..serve.loadtest import load_test
    except ModuleNotFoundError as problem:
        raise missing_extra(f"serving ({problem.name})", "serve") from None

    found = load_test(bundle, LoadConfig(**given), listen=lambda line: click.echo(line, err=True))
    if as_json:
        click.echo(json.dumps(found))
        return
    click.echo(f"{'% of peak':>9} {'asked/s':>9} {'answered/s':>10} {'p50 ms':>8} {'p99 ms':>8} {'refused':>8} {'failed':>7}")
    for one in [{"share": "peak", **found["peak"]}, *found["rates"]]:
        share = one["share"] if isinstance(one["share"], str) else f"{one['share']:g}"
        click.echo(f"{share:>9} {one['asked']:>9g} {one['answered']:>10g} {one['p50_ms']:>8.2f} {one['p99_ms']:>8.2f} {one['refused']:>8} {one['failed']:>7}")

