"""understudy show: what is in a bundle."""

from __future__ import annotations

import json

import click


@click.command()
@click.argument("bundle")
@click.option("--verify", is_flag=True, help="Hash every file and answer the bundle's own checks again.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document.")
def command(bundle: str, verify: bool, as_json: bool) -> None:
    """Say what is in a bundle: rungs, sizes, thresholds, scores, where it comes from.

    Example: understudy show support --verify
    """
    from ..recipes.inspecting import show

    told = show(bundle, verify=verify)
    if as_json:
        click.echo(json.dumps(told, ensure_ascii=False, indent=1))
        return
    kinds = f"{len(told['labels'])} labels, " if told["labels"] else ""
    click.echo(f"{told['name']}: {told['task']}, {kinds}{told['bytes'] / 1e6:.2f} MB, id {told['id'][:12]}, Understudy {told['version']}")
    for rung in told["rungs"]:
        bar = "answers the rest" if rung["threshold"] <= 0 else "never answers" if rung["threshold"] > 1 else f"answers from {rung['threshold']:.1%}"
        click.echo(f"  {rung['name']:<8} {rung['kind']:<8} {rung['bytes'] / 1e6:7.2f} MB  {rung['parameters']:>11,} parameters  {rung['precision']}  {bar}")
    scores = told["scores"] or {}
    accuracy = scores.get("accuracy")
    if told["task"] != "classify":
        click.echo(", ".join(f"{name} {value:.3g}" for name, value in scores.items()) + " on its own test rows")
    if accuracy:
        click.echo(f"accuracy {accuracy['value']:.1%} ({accuracy['low']:.1%}–{accuracy['high']:.1%}) on its own test rows")
    if told["certificate"]:
        click.echo(f"certified: {told['certificate']['promise']}")
    if told["labels"]:
        click.echo("labels: " + ", ".join(told["labels"][:20]) + (f" and {len(told['labels']) - 20} more" if len(told["labels"]) > 20 else ""))
    if verify:
        click.echo(f"verified: {told['verified']['files']} files, {told['verified']['checks']} checks answered again")
