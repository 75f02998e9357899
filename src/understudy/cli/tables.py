"""predict for a table: its columns stay, and the answer's are added, row by row; the file is never held."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from time import monotonic

import click

from ..errors import UsageError
from .progress import Moving, bar

_PATIENCE = 0.1
"""Seconds to wait for more rows before those at hand are answered: a row from a slow pipe does not wait for its 511 neighbours."""
Answer = Callable[[list[str]], Sequence[tuple[object, ...]]]


def answer_table(answer: Answer, names: tuple[str, ...], source: str, target: str, *, text_column: str | None, encoding: str | None,
                 on_bad_row: str, as_json: bool, at_once: int) -> None:
    """Asks `answer` for at most `at_once` texts at a time; it gives a value per name in `names` for each. Progress on a terminal."""
    from ..tasks.reading import open_writer, stream_rows

    form = _form(target, as_json)
    table, column, rows = stream_rows(source, text_column=text_column, encoding=encoding, on_bad_row=on_bad_row)
    added = [name if name not in table.columns else f"predicted_{name}" for name in names]
    moving, done, started = Moving(), 0, monotonic()
    try:
        with open_writer(target, [*table.columns, *added], form) as writer:
            for chunk in _chunks(rows, at_once):
                for row, said in zip(chunk, answer([str(row.values[column]) for row in chunk]), strict=True):
                    writer.write({**row.values, **dict(zip(added, said, strict=True))})
                writer.flush()
                done += len(chunk)
                moving.show(_moved(table.share, done, monotonic() - started))
    finally:
        moving.wipe()
    if moving.on and target != "-":
        click.echo(f"{done:,} rows answered in {monotonic() - started:.1f} s", err=True)
    if table.skipped_count:
        click.echo(f"{table.skipped_count:,} rows skipped; the first: line {table.skipped[0][0]}, {table.skipped[0][1]}", err=True)


def answer_texts(answer: Answer, names: tuple[str, ...], texts: list[str], target: str, as_json: bool) -> None:
    """The same for texts given on the command line whose answers go to a file."""
    from ..tasks.reading import open_writer

    with open_writer(target, ["text", *names], _form(target, as_json)) as writer:
        for text, said in zip(texts, answer(texts), strict=True):
            writer.write({"text": text, **dict(zip(names, said, strict=True))})


def _form(target: str, as_json: bool) -> str | None:
    suffix = os.path.splitext(target.lower().removesuffix(".gz"))[1]
    if as_json and suffix in (".csv", ".tsv", ".json"):
        raise UsageError(f"--json writes JSON lines, and {target} is named {suffix}", hint="name the file .jsonl, or leave --json out")
    return "jsonl" if as_json else None


def _chunks(rows: Iterator, most: int) -> Iterator[list]:
    chunk, began = [], monotonic()
    for row in rows:
        chunk.append(row)
        if len(chunk) == most or monotonic() - began > _PATIENCE:
            yield chunk
            chunk, began = [], monotonic()
    if chunk:
        yield chunk


def _moved(share: float | None, done: int, seconds: float) -> str:
    rate = f"{done:,} rows, {done / max(seconds, 1e-6):,.0f} a second"
    return rate if share is None else f"{bar(share)}  {rate}"
