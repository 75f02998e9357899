"""predict for bundles that write: texts given here, rows of a file, whole documents."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..errors import UsageError
from .sampling import chosen
from .tables import answer_table, answer_texts

if TYPE_CHECKING:
    from ..run.generate.sampling import Sampling
    from ..run.summarising import Summariser
    from ..run.writing import Writer, Written
    from ..tasks.summarise import Summary

_CHUNK = 64
_DOCUMENTS = (".md", ".txt", ".rst")


def answer_given(writer: Writer, texts: list[str], target: str, given: dict[str, Any], as_json: bool) -> None:
    """Texts from the command line; one text is streamed to a terminal as it is written."""
    sampling = chosen(given, max_tokens=writer.prompt.max_tokens)
    if target != "-":
        answer_texts(lambda some: [(one.text, one.finish) for one in writer.predict(some, sampling)], ("answer", "finish"), texts, target, as_json)
    elif as_json:
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
    if _is_document(source) and writer.task in ("translate", "summarize"):
        _document(writer, source, target, encoding, sampling, as_json)
    else:
        answer_table(lambda texts: [(one.text, one.finish) for one in writer.predict(texts, sampling)], ("answer", "finish"), source, target,
                     text_column=text_column, encoding=encoding, on_bad_row=on_bad_row, as_json=as_json, at_once=_CHUNK)


def summarise(model: Summariser, texts: list[str], source: str | None, target: str, text_column: str | None, encoding: str | None,
              on_bad_row: str, length: dict[str, int | None], as_json: bool) -> None:
    """Summaries of texts given here, of a document, or of the rows of a table."""
    if source and not _is_document(source):
        answer_table(lambda some: [(one.text, "; ".join(one.flags)) for one in model.predict(some, **length)], ("summary", "flags"), source, target,
                     text_column=text_column, encoding=encoding, on_bad_row=on_bad_row, as_json=as_json, at_once=_CHUNK)
        return
    from ..tasks.reading.plain_text import read_text

    given = [read_text(source, encoding)] if source else texts
    said = model.predict(given, **length)
    if as_json:
        lines = json.dumps([_summary(one) for one in said], ensure_ascii=False)
    else:
        lines = "\n".join(one.text for one in said)
    _put(lines, target)
    if not as_json:
        for one in said:
            for flag in one.flags:
                click.echo(f"note: {flag}", err=True)


def _summary(one: Summary) -> dict[str, Any]:
    return {"summary": one.text, "words": one.words, "share": one.share, "flags": list(one.flags),
            "sentences": [{"start": part.start, "end": part.end, "text": part.text, "score": part.score} for part in one.sentences]}


def _is_document(source: str) -> bool:
    return source != "-" and Path(source).suffix.lower() in _DOCUMENTS


def _put(text: str, target: str) -> None:
    if target == "-":
        click.echo(text)
        return
    try:
        Path(target).write_text(text + "\n", encoding="utf-8")
    except OSError as problem:
        raise UsageError(f"{target} cannot be written: {problem.strerror}") from None


def plain(text: str, one: Written) -> dict[str, Any]:
    """One answer as JSON: text, token ids, finish reason, timings."""
    return {"input": text, "text": one.text, "ids": list(one.ids), "finish": one.finish, "prompt_tokens": one.prompt_tokens, "tokens": one.tokens,
            "seconds_first": one.seconds_first, "tokens_per_second": one.tokens_per_second, "parts": one.parts}


def _document(writer: Writer, source: str, target: str, encoding: str | None, sampling: Sampling, as_json: bool) -> None:
    from ..tasks.reading.plain_text import read_text

    text = read_text(source, encoding)
    one = writer.predict(text, sampling)
    _put(json.dumps(plain(text, one), ensure_ascii=False) if as_json else one.text, target)
    if one.finish == "length":
        click.echo("note: the answer was cut at its longest; --max-tokens allows more", err=True)
