"""understudy quantize: fewer bits a weight."""

from __future__ import annotations

import json
from dataclasses import asdict

import click

from ..recipes.text.config import PRECISIONS


@click.command()
@click.argument("model")
@click.option("--to", type=click.Choice(PRECISIONS), required=True, help="The precision of the weights.")
@click.option("--out", required=True, metavar="FILE", help="The new .gguf.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document.")
def command(model: str, to: str, out: str, as_json: bool) -> None:
    """Write a bundle's model, a .gguf or a Hugging Face folder as a .gguf at another precision, and compare the two.

    Example: understudy quantize ./smollm2-135m --to q4_k_m --out smollm2.gguf
    """
    from ..recipes.text.exporting import quantize

    done = quantize(model, out, to)
    click.echo(json.dumps({**asdict(done), "path": str(done.path)}) if as_json else "\n".join(done.lines()))
