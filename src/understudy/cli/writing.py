"""predict for bundles that write: texts given here, rows of a file, whole documents."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..errors import UsageError
from .sampling import chosen

if TYPE_CHECKING:
    from ..run.generate.sampling import Sampling
    from ..run.writing import Writer, Written

_CHUNK = 64
_DOCUMENTS = (".md", ".txt", ".rst")


def answer_given(writer: Writer, texts: list[str], given: dict[str, Any], as_json: bool) -> None:
    """Texts from the command line; one text is streamed to a terminal as it is written."""
    sampling = chosen(given, max_tokens=writer.prompt.max_tokens)
    if as_json:
        said = writer.predict(texts, sampling)
        click.echo(json.dumps([plain(text, one) for text, one in zip(texts, said, strict=True)], ensure_ascii=False))
    elif len(texts) == 1 and sys.stdout.isatty():
        for piece in writer.stream(texts[0], sampling):
            click.echo(piece, nl=False)
        click.echo("")
    else:
        for one in writer.predict(texts, sampling):
            click.echo(one.text)


def answer_file(writer: Writer, source: str, target: str, text_column: str | None, encoding: str | None, on_bad_row: str,
                given: dict[str, Any], as_json: bool) -> None:
    """A document as one text (.md, .txt and .rst), or a table row by row with the answer in a new column."""
    sampling = chosen(given, max_tokens=writer.prompt.max_tokens)
    if source != "-" and Path(source).suffix.lower() in _DOCUMENTS and writer.task in ("translate", "summarize"):
        _document(writer, source, target, encoding, sampling, as_json)
    else:
        _table(writer, source, target, text_column, encoding, on_bad_row, sampling, as_json)


def plain(text: str, one: Written) -> dict[str, Any]:
    """One answer as JSON: text, token ids, finish reason, timings."""
    return {"input": text, "text": one.text, "ids": list(one.ids), "finish": one.finish, "prompt_tokens": one.prompt_tokens, "tokens": one.tokens,
            "seconds_first": one.seconds_first, "tokens_per_second": one.tokens_per_second, "parts": one.parts}


def _document(writer: Writer, source: str, target: str, encoding: str | None, sampling: Sampling, as_json: bool) -> None:
    text = read_document(source, encoding)
    one = writer.predict(text, sampling)
    said = json.dumps(plain(text, one), ensure_ascii=False) if as_json else one.text
    if target == "-":
        click.echo(said)
    else:
        Path(target).write_text(said + "\n", encoding="utf-8")
    if one.finish == "length":
        click.echo("note: the answer was cut at its longest; --max-tokens allows more", err=True)


def read_document(path: str, encoding: str | None) -> str:
    """A text file, whole. Raises UsageError where it cannot be read as text."""
    try:
        return Path(path).read_text(encoding=encoding or "utf-8-sig")
    except OSError as problem:
        raise UsageError(f"{path} cannot be read: {problem.strerror}") from None
    except (UnicodeDecodeError, LookupError) as problem:
        raise UsageError(f"{path} is not {encoding or 'UTF-8'} text: {problem}", hint="name its encoding: --encoding windows-1252") from None


def _table(writer: Writer, source: str, target: str, text_column: str | None, encoding: str | None, on_bad_row: str, sampling: Sampling,
           as_json: bool) -> None:
    from ..tasks.reading import open_writer, stream_rows

    table, column, rows = stream_rows(source, text_column=text_column, encoding=encoding, on_bad_row=on_bad_row)
    added = [name if name not in table.columns else f"predicted_{name}" for name in ("answer", "finish")]
    done = 0
    with open_writer(target, [*table.columns, *added], "jsonl" if as_json and target == "-" else None) as out:
        for chunk in _chunks(rows):
            said = writer.predict([str(row.values[column]) for row in chunk], sampling)
            for row, one in zip(chunk, said, strict=True):
                out.write({**row.values, **dict(zip(added, (one.text, one.finish), strict=True))})
            done += len(chunk)
            if sys.stderr.isatty():
                click.echo(f"\r{done:,} rows", err=True, nl=False)
    if table.skipped_count:
        click.echo(f"{table.skipped_count:,} rows skipped; the first: line {table.skipped[0][0]}, {table.skipped[0][1]}", err=True)


def _chunks(rows: Iterator) -> Iterator[list]:
    chunk: list = []
    for row in rows:
        chunk.append(row)
        if len(chunk) == _CHUNK:
            yield chunk
            chunk = []
    if chunk:
        yield chunk
