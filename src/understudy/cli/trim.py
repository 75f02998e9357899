"""understudy trim: a decoder without the pieces that your texts never use."""

from __future__ import annotations

import json
from dataclasses import asdict

import click


@click.command()
@click.argument("model")
@click.option("--keep-for", "texts", multiple=True, required=True, metavar="FILE", help="Texts like those the model will see; repeatable.")
@click.option("--out", required=True, metavar="DIR", help="Where the smaller model goes; it must not be there yet.")
@click.option("--most", type=click.IntRange(300), metavar="N", help="At most so many pieces; the rarest go first, and some texts are split more finely.")
@click.option("--column", metavar="NAME", help="The column with the texts, where the file is a table.")
@click.option("--encoding", metavar="NAME", help="The texts' encoding; detected when not given.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document.")
def command(model: str, texts: tuple[str, ...], out: str, most: int | None, column: str | None, encoding: str | None, as_json: bool) -> None:
    """Trim a Hugging Face decoder's vocabulary to the texts you have: ids, merges and embeddings are remapped exactly.

    Example: understudy trim ./gemma-3-270m --keep-for corpus.txt --out small
    """
    from ..models.checkpoint import find_checkpoint
    from ..shrink.corpus import texts_of
    from ..shrink.decoder_checkpoint import trim_checkpoint

    report = trim_checkpoint(find_checkpoint(model), texts_of(texts, column=column, encoding=encoding), out, most=most)
    if as_json:
        click.echo(json.dumps({"out": out, **asdict(report)}))
        return
    for line in report.lines():
        click.echo(line)
