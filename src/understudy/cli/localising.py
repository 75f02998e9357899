"""predict for localisation files: PO, XLIFF, JSON, ARB, Android XML and .strings come back with structure, order and comments intact."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from ..errors import UsageError
from .files import put
from .progress import Moving

if TYPE_CHECKING:
    from ..run.generate.sampling import Sampling
    from ..run.writing import Writer
    from ..tasks.localise import Memory, Report

_SHOWN = 20


def is_localisation(source: str) -> bool:
    """Is the file one of a localisation format, by its name?"""
    from ..tasks.localise import extensions

    return source != "-" and source.lower().endswith(tuple(extensions()))


@dataclass(frozen=True)
class Wanted:
    """The flags that say how a localisation file is translated."""

    memory: str | None
    likeness: float | None
    glossary: str | None
    overwrite: bool


def translate_file(writer: Writer, source: str, target: str, wanted: Wanted, sampling: Sampling | None, as_json: bool) -> None:
    """Translates what is missing, writes the file whole, and says what a person should look at."""
    from ..tasks.localise import LEAST, Glossary, open_document, translate_document

    if target == "-" and as_json:
        raise UsageError("--json prints the report, and so the file needs a place of its own", hint="--output FILE")
    document = open_document(source)
    known, terms = _memory(wanted.memory) if wanted.memory else None, Glossary.open(wanted.glossary) if wanted.glossary else None
    with Moving() as moving:
        report = translate_document(document, _asking(writer, sampling, moving), memory=known, glossary=terms, overwrite=wanted.overwrite,
                                    least=wanted.likeness or LEAST, mends=bool(writer.prompt.mends))
    _put(document.write(report.targets), target)
    if as_json:
        click.echo(json.dumps(_plain(report), ensure_ascii=False))
    else:
        _tell(report)


def _asking(writer: Writer, sampling: Sampling | None, moving: Moving) -> Callable[[list[str]], list[str]]:
    """What translates texts, and says on the moving line how many it was asked for."""
    from ..tasks.localise import Cut

    asked = 0

    def translated(texts: list[str]) -> list[str]:
        nonlocal asked
        asked += len(texts)
        moving.show(f"{asked:,} texts asked of the model")
        return [Cut(one.text) if one.finish == "length" else one.text for one in writer.predict(texts, sampling)]

    return translated


def _memory(path: str) -> Memory:
    from ..tasks.localise import Memory

    return Memory.open(path)


def _put(data: bytes, target: str) -> None:
    if target == "-":
        sys.stdout.buffer.write(data)
    else:
        put(target, data)


def _plain(report: Report) -> dict[str, Any]:
    return {"exact": report.exact, "fuzzy": report.fuzzy, "model": report.model, "copied": report.copied, "left": report.left,
            "skipped": report.skipped, "skipped_for": report.skipped_for, "failures": report.failures,
            "marked": [{"key": mark.key, "line": mark.line, "reason": mark.reason, "written": mark.written} for mark in report.marks]}


def _tell(report: Report) -> None:
    click.echo(f"{report.exact:,} from memory, {report.fuzzy:,} from memory by likeness, {report.model:,} by the model, {report.copied:,} copied, "
               f"{report.left:,} left, {report.skipped:,} skipped; {report.marked:,} to look at", err=True)
    for mark in report.marks[:_SHOWN]:
        click.echo(f"  line {mark.line}, {mark.key}: {mark.reason}{'' if mark.written else ' (not written)'}", err=True)
    if report.marked > _SHOWN:
        click.echo(f"  and {report.marked - _SHOWN:,} more; --json lists all", err=True)
    for failure in report.failures[:3]:
        click.echo(f"  {failure}", err=True)
