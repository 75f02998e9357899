"""understudy export: a model in the form that another program opens."""

from __future__ import annotations

import json
from dataclasses import asdict

import click

from ..recipes.text.config import FORMS


@click.command()
@click.argument("model")
@click.option("--to", "form", type=click.Choice(FORMS), required=True, help="The form.")
@click.option("--out", required=True, metavar="PATH", help="Where it goes; it must not be there yet.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document.")
def command(model: str, form: str, out: str, as_json: bool) -> None:
    """Write a model for llama.cpp (gguf), Ollama, transformers (hf) or transformers.js (onnx).

    Example: understudy export en-de --to ollama --out en-de-ollama
    """
    from ..recipes.text.exporting import export

    done = export(model, out, form)
    click.echo(json.dumps({**asdict(done), "path": str(done.path)}) if as_json else "\n".join(done.lines()))
