"""predict for a table: its columns stay, and the answer's are added, row by row; the file is never held."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from itertools import islice

import click


def answer_table(answer: Callable[[list[str]], Sequence[tuple[object, ...]]], names: tuple[str, ...], source: str, target: str, *,
                 text_column: str | None, encoding: str | None, on_bad_row: str, as_json: bool, at_once: int) -> None:
    """Asks `answer` for `at_once` texts at a time; it gives a value per name in `names` for each. Progress on a terminal."""
    from ..tasks.reading import open_writer, stream_rows

    table, column, rows = stream_rows(source, text_column=text_column, encoding=encoding, on_bad_row=on_bad_row)
    added = [name if name not in table.columns else f"predicted_{name}" for name in names]
    moving, done = source != "-" and sys.stderr.isatty(), 0
    with open_writer(target, [*table.columns, *added], "jsonl" if as_json and target == "-" else None) as writer:
        while chunk := list(islice(rows, at_once)):
            for row, said in zip(chunk, answer([str(row.values[column]) for row in chunk]), strict=True):
                writer.write({**row.values, **dict(zip(added, said, strict=True))})
            done += len(chunk)
            if moving:
                click.echo(f"\r{done:,} rows", err=True, nl=False)
    if moving:
        click.echo("", err=True)
    if table.skipped_count:
        click.echo(f"{table.skipped_count:,} rows skipped; the first: line {table.skipped[0][0]}, {table.skipped[0][1]}", err=True)
