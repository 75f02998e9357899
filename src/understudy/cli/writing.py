"""predict for bundles that write or summarise: texts given here, rows of a file, whole documents. Both routes of a summary answer alike."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any, Self

import click

from ..errors import UsageError
from .files import put
from .progress import Moving, bar
from .sampling import chosen
from .tables import answer_table, answer_texts

if TYPE_CHECKING:
    from ..run.generate.sampling import Sampling
    from ..run.summarising import Summariser
    from ..run.writing import Heard, Writer, Written
    from ..tasks.summarise import Summary

_CHUNK = 64
_DOCUMENTS = (".md", ".txt", ".rst")
Told = dict[str, Any]


@dataclass(frozen=True)
class Answering:
    """An opened model with the flags of this call. `length` are words and sentences of a summary; `sampling` is None where sentences are chosen."""

    model: Summariser | Writer
    sampling: Sampling | None
    length: dict[str, int | None]

    @classmethod
    def of(cls, model: Summariser | Writer, given: dict[str, Any], length: dict[str, int | None]) -> Self:
        """From the flags. Raises UsageError for what makes no sense."""
        from ..run.writing import Writer

        return cls(model, chosen(given, max_tokens=model.prompt.max_tokens) if isinstance(model, Writer) else None, length)

    @property
    def names(self) -> tuple[str, ...]:
        """The columns that a table gets."""
        return {"summarize": ("summary", "finish", "flags"), "generate": ("answer", "finish", "flags")}.get(self.model.task, ("answer", "finish"))

    def ask(self, texts: list[str], heard: Heard | None = None) -> list[Told]:
        """One document per text: text, token ids, finish reason, timings; of a summary also its words, flags and sentences.

        `heard(done, parts)` is called whenever a part of what a model writes is there.
        """
        from ..run.writing import Writer

        if isinstance(self.model, Writer):
            said = self.model.predict(texts, self.sampling, words=self.length["words"], sentences=self.length["sentences"], heard=heard)
            return [written(text, one, self.model.task) for text, one in zip(texts, said, strict=True)]
        return [_chosen(self.model, text, self.length) for text in texts]

    def cells(self, texts: list[str], as_json: bool) -> list[tuple[object, ...]]:
        """The values of those columns; as JSON all else that is known, too."""
        rows = []
        for one in self.ask(texts):
            named = {**one, self.names[0]: one["text"], **({} if as_json else {"flags": "; ".join(one.get("flags", ()))})}
            rows.append(tuple(named[name] for name in (*self.names, *(self._more() if as_json else ()))))
        return rows

    def columns(self, as_json: bool) -> tuple[str, ...]:
        """The names of what `cells` gives."""
        return (*self.names, *(self._more() if as_json else ()))

    def _more(self) -> tuple[str, ...]:
        return tuple(name for name in (_SUMMARY if self.model.task == "summarize" else _WRITTEN) if name not in ("input", "text", *self.names))


_WRITTEN = ("input", "text", "finish", "parts", "ids", "prompt_tokens", "tokens", "seconds_first", "tokens_per_second")
_SUMMARY = (*_WRITTEN, "words", "share", "flags", "sentences")


def answer_given(answering: Answering, texts: list[str], target: str, as_json: bool) -> None:
    """Texts from the command line; one text is streamed to a terminal as it is written."""
    from ..run.writing import Writer

    model, bounded = answering.model, any(answering.length.values())
    if target != "-":
        answer_texts(lambda some: answering.cells(some, as_json), answering.columns(as_json), texts, target, as_json)
    elif isinstance(model, Writer) and len(texts) == 1 and not as_json and not bounded and sys.stdout.isatty():
        _streamed(model, texts[0], answering.sampling)
    else:
        _show(answering.ask(texts), target, as_json)


def answer_file(answering: Answering, source: str, target: str, text_column: str | None, encoding: str | None, on_bad_row: str, as_json: bool) -> None:
    """A document as one text (.md, .txt and .rst), or a table row by row with the answer in new columns."""
    if source != "-" and Path(source).suffix.lower() in _DOCUMENTS and answering.model.task in ("translate", "summarize"):
        from ..tasks.reading.plain_text import read_text

        for flag, given in (("--text-column", text_column), ("--on-bad-row", on_bad_row != "fail")):
            if given:
                raise UsageError(f"{flag} is about the rows of a table, and {source} is one document", hint="leave it out")
        with Moving() as moving:
            said = answering.ask([read_text(source, encoding)], lambda done, parts: moving.show(f"{bar(done / parts)}  {done:,} of {parts:,} parts"))
        _show(said, target, as_json)
    else:
        answer_table(lambda some: answering.cells(some, as_json), answering.columns(as_json), source, target,
                     text_column=text_column, encoding=encoding, on_bad_row=on_bad_row, as_json=as_json, at_once=_CHUNK)


def _show(said: list[Told], target: str, as_json: bool) -> None:
    text = json.dumps(said, ensure_ascii=False) if as_json else "\n".join(one["text"] for one in said)
    if target == "-":
        click.echo(text)
    else:
        put(target, f"{text}\n".encode())
    for one in said if not as_json else ():
        for flag in one.get("flags", ()):
            click.echo(f"note: {flag}", err=True)
        if one["finish"] == "length":
            click.echo("note: the answer was cut at its longest; " + ("a larger --words, --sentences or " if "words" in one else "") + "--max-tokens allows more", err=True)


def _streamed(model: Writer, text: str, sampling: Sampling | None) -> None:
    from ..tasks.faithful import flags_of

    said = []
    for piece in model.stream(text, sampling):
        said.append(piece)
        click.echo(piece, nl=False)
    click.echo("")
    answer = "".join(said)
    for flag in flags_of(answer, text) if model.task == "summarize" else model.prompt.slots.flags(text, answer):
        click.echo(f"note: {flag}", err=True)


def written(text: str, one: Written, task: str) -> Told:
    """One answer as JSON: text, token ids, finish reason, timings; of a summary the same as of a chosen one."""
    from ..tasks.sentences import sentences, words_of

    told: Told = {"input": text, "text": one.text, "finish": one.finish, "parts": one.parts, "ids": list(one.ids), "prompt_tokens": one.prompt_tokens,
                  "tokens": one.tokens, "seconds_first": one.seconds_first, "tokens_per_second": one.tokens_per_second}
    if task == "generate":
        told["flags"] = list(one.flags)
    if task == "summarize":
        words = len(words_of(one.text))
        told |= {"words": words, "share": words / max(1, len(words_of(text))), "flags": list(one.flags),
                 "sentences": [{"text": span.of(one.text), "start": None, "end": None, "score": None} for span in sentences(one.text)]}
    return told


def _chosen(model: Summariser, text: str, length: dict[str, int | None]) -> Told:
    """The same of a summary whose sentences were chosen: no token was written."""
    started = perf_counter()
    one: Summary = model.predict(text, **length)
    return {"input": text, "text": one.text, "finish": "end", "parts": 1, "ids": None, "prompt_tokens": None, "tokens": None,
            "seconds_first": perf_counter() - started, "tokens_per_second": None, "words": one.words, "share": one.share, "flags": list(one.flags),
            "sentences": [{"text": part.text, "start": part.start, "end": part.end, "score": part.score} for part in one.sentences]}
