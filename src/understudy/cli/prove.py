"""understudy prove: the receipt of a bundle on new labelled data."""

from __future__ import annotations

from pathlib import Path

import click

from .progress import Moving


@click.command()
@click.argument("bundle")
@click.option("--data", required=True, metavar="FILE", help="Labelled rows that the bundle was not trained on.")
@click.option("--text-column", metavar="NAME", help="The column with the texts, or what goes in.")
@click.option("--label-column", metavar="NAME", help="The column with the labels, or what should come out.")
@click.option("--encoding", metavar="NAME", help="The file's encoding; detected when not given.")
@click.option("--on-bad-row", type=click.Choice(["fail", "skip"]), default="fail", show_default=True, help="What to do with a row that cannot be used.")
@click.option("--gate", metavar="RULES", help="Exit 3 when this is missed, e.g. 'accuracy>=0.9,size<=5MB'.")
@click.option("--html", metavar="FILE", help="Also write the receipt as a page.")
@click.option("--json", "as_json", is_flag=True, help="The receipt as JSON.")
def command(bundle: str, data: str, text_column: str | None, label_column: str | None, encoding: str | None, on_bad_row: str, gate: str | None,
            html: str | None, as_json: bool) -> None:
    """Measure a bundle on new labelled data, every rung and the cascade.

    Example: understudy prove support --data fresh-labelled.csv --gate 'accuracy>=0.9'
    """
    from ..errors import UnderstudyError
    from ..proof.gate import check_gate, parse_gate, raise_if_failed
    from ..recipes.proving import prove

    rules = parse_gate(gate) if gate else ()
    with Moving() as moving:
        receipt = prove(bundle, data, text_column=text_column, label_column=label_column, encoding=encoding, on_bad_row=on_bad_row, listen=moving.hear)
    click.echo(receipt.to_json().decode() if as_json else receipt.table(), nl=not as_json)
    if html:
        try:
            Path(html).write_text(receipt.html(), encoding="utf-8")
        except OSError as problem:
            raise UnderstudyError(f"the page cannot be written to {html}: {problem.strerror}") from None
    raise_if_failed(check_gate(rules, receipt))
