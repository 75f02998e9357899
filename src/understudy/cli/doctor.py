"""understudy doctor: what would fail on this machine."""

from __future__ import annotations

import json

import click


@click.command()
@click.option("--serve", "serving", is_flag=True, help="Look at what `understudy serve` needs as well, with its dials from the environment.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document.")
@click.pass_context
def command(context: click.Context, serving: bool, as_json: bool) -> None:
    """Check versions, extras, threads, int8 support, cache and disk; exit 1 when something would fail.

    Example: understudy doctor --serve
    """
    from ..recipes.inspecting import doctor

    findings = doctor()
    if serving:
        from ..serve.checkup import checkup

        findings += checkup()
    if as_json:
        click.echo(json.dumps(findings, ensure_ascii=False))
    else:
        for one in findings:
            click.echo(f"{one['state']:<5} {one['what']:<20} {one['found']}" + (f"\n      hint: {one['hint']}" if "hint" in one else ""))
    if any(one["state"] == "fail" for one in findings):
        context.exit(1)
