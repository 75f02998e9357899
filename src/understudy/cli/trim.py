"""understudy trim: a decoder with only the vocabulary that its texts need."""

from __future__ import annotations

import json
from dataclasses import asdict

import click


@click.command()
@click.argument("model")
@click.option("--keep-for", "keep_for", multiple=True, required=True, metavar="FILE",
              help="Texts to keep pieces for, prompts and answers; may be repeated.")
@click.option("--out", required=True, metavar="FOLDER", help="The new model folder.")
@click.option("--column", help="The text column of the files.")
@click.option("--most", type=int, metavar="N", help="At most so many pieces: the rarest go, and texts with them take more tokens.")
@click.option("--multiple", type=int, default=1, show_default=True, metavar="N",
              help="Round the number of pieces to a multiple, with further pieces.")
@click.option("--drop-reserved", is_flag=True, help="Let placeholders such as <unused7> go that no text uses.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document.")
def command(model: str, keep_for: tuple[str, ...], out: str, column: str | None, most: int | None, multiple: int, drop_reserved: bool,
            as_json: bool) -> None:
    """Keep the token pieces that the given texts use, and write the smaller model.

    Those texts are split as before and get the same answers; any other text can still be read and written.

    Example: understudy trim gemma-3-270m --keep-for tickets.csv --out small
    """
    from ..recipes.text.trimming import trim
    from ..shrink.corpus import texts_of

    done = trim(model, texts_of(keep_for, column=column), out, most=most, multiple=multiple, drop_reserved=drop_reserved)
    if as_json:
        told = asdict(done)
        click.echo(json.dumps({**told.pop("report"), **told}, ensure_ascii=False, indent=1))
        return
    click.echo("\n".join(done.lines()))
