"""understudy predict: texts, a file or standard input in, labels out."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from ..errors import UsageError
from . import localising, writing
from .sampling import sampling_flags, used
from .tables import answer_table, answer_texts

if TYPE_CHECKING:
    from ..run.answer import Understudy
    from ..run.summarising import Summariser
    from ..run.writing import Writer
    from ..tasks.types import Prediction

_CHUNK = 512


def _opened(path: str, threads: int | None, copy: bool) -> Understudy | Summariser | Writer:
    from ..run.opening import load

    # Sizes now, hashes file by file as each is read: a rung that is never asked is never hashed, and the first answer comes sooner.
    return load(path, threads=threads, verify=False, copy=copy)


@click.command()
@click.argument("bundle")
@click.argument("texts", nargs=-1)
@click.option("--input", "source", metavar="FILE", help="A file of texts; - is standard input.")
@click.option("--output", "target", metavar="FILE", default="-", show_default=True, help="Where the answers go: .csv, .tsv or .jsonl, .gz packed; - is standard output.")
@click.option("--text-column", metavar="NAME", help="The column with the texts; found by name and content when not given.")
@click.option("--encoding", metavar="NAME", help="The file's encoding; detected when not given.")
@click.option("--on-bad-row", type=click.Choice(["fail", "skip"]), default="fail", show_default=True, help="What to do with a row that cannot be used.")
@click.option("--top", type=click.IntRange(1), default=1, show_default=True, help="How many labels to give per text (classify).")
@click.option("--threads", type=click.IntRange(1), help="Cores; when not given one, and all for a model that writes and is large.")
@click.option("--words", type=click.IntRange(1), metavar="N", help="Summaries: at most this many words.")
@click.option("--sentences", type=click.IntRange(1), metavar="N", help="Summaries: at most this many sentences.")
@click.option("--memory", metavar="FILE", help="Localisation files: earlier translations, TSV or TMX, asked first; a model trained with --mend is shown what is alike.")
@click.option("--likeness", type=click.FloatRange(0, 1, min_open=True), metavar="SHARE",
              help="Localisation files: from what likeness on a text of the memory is taken instead of the model's answer, and marked for review; 0.9 when not given.")
@click.option("--glossary", metavar="FILE", help="Localisation files: terms and their translations, CSV or TSV.")
@click.option("--overwrite", is_flag=True, help="Localisation files: translate also what has a translation.")
@sampling_flags
@click.option("--json", "as_json", is_flag=True, help="JSON: a document for texts, JSON lines for a file.")
def command(bundle: str, texts: tuple[str, ...], source: str | None, target: str, text_column: str | None, encoding: str | None,
            on_bad_row: str, top: int, threads: int | None, words: int | None, sentences: int | None,
            memory: str | None, likeness: float | None, glossary: str | None, overwrite: bool, as_json: bool, **given: Any) -> None:
    """Answer texts given here, or a file row by row: its columns stay, and the answer's are added.

    Example: understudy predict support "where is my card?"

    Example: understudy predict en-de "Where is the station?"

    Example: understudy predict en-de --input messages.po --output de.po --memory earlier.tmx
    """
    if bool(texts) == bool(source):
        raise UsageError("predict needs texts, or --input FILE" if not texts else "predict takes texts or --input FILE, not both",
                         hint='understudy predict support "where is my card?"')
    from ..run.answer import Understudy
    from ..run.writing import Writer

    _for_a_file(source, {"--text-column": text_column, "--encoding": encoding, "--on-bad-row": on_bad_row != "fail"})
    opened = _opened(bundle, threads, bool(given["copy"]))
    _fits(opened, bundle, source, {"top": top > 1, "words": words, "sentences": sentences, "memory": memory, "glossary": glossary, "overwrite": overwrite,
                                  "likeness": likeness},
          used(given))
    if not isinstance(opened, Understudy):
        length = {"words": words, "sentences": sentences}
        with opened:
            answering = writing.Answering.of(opened, given, length)
            if source and isinstance(opened, Writer) and opened.task == "translate" and localising.is_localisation(source):
                _whole(source, {"--text-column": text_column, "--encoding": encoding, "--on-bad-row": on_bad_row != "fail"})
                localising.translate_file(opened, source, target, localising.Wanted(memory, likeness, glossary, overwrite), answering.sampling, as_json)
            elif source:
                writing.answer_file(answering, source, target, text_column, encoding, on_bad_row, as_json)
            else:
                writing.answer_given(answering, list(texts), target, as_json)
    elif source:
        answer_table(_labeller(opened, top), _columns(opened, top), source, target, text_column=text_column, encoding=encoding,
                     on_bad_row=on_bad_row, as_json=as_json, at_once=_CHUNK)
    elif target != "-":
        answer_texts(_labeller(opened, top), _columns(opened, top), list(texts), target, as_json)
    else:
        _given(opened, list(texts), top, as_json)


def _for_a_file(source: str | None, flags: dict[str, object]) -> None:
    """Raises UsageError for flags that say how to read a file where there is none."""
    for name, value in flags.items():
        if value and not source:
            raise UsageError(f"{name} says how to read a file, and no --input is given", hint="--input FILE, or leave the flag out")


def _whole(source: str, flags: dict[str, object]) -> None:
    """Raises UsageError for flags about the rows of a table where a file is translated whole."""
    for name, value in flags.items():
        if value:
            raise UsageError(f"{name} is about the rows of a table, and {source} is a localisation file, which says itself how it is read", hint="leave it out")


def _fits(opened: Understudy | Summariser | Writer, bundle: str, source: str | None, flags: dict[str, object], sampling: list[str]) -> None:
    """Raises UsageError for flags that mean nothing to this kind of model, or to this kind of file."""
    from ..run.answer import Understudy
    from ..run.summarising import Summariser

    task, sorts, chooses = opened.manifest.task, isinstance(opened, Understudy), isinstance(opened, Summariser)
    if flags["top"] and not sorts:
        raise UsageError(f"--top is for models that sort, and {bundle} was made for {task}")
    if (flags["words"] or flags["sentences"]) and task != "summarize":
        raise UsageError(f"--words and --sentences are for summaries, and {bundle} was made for {task}",
                         hint=None if sorts else "--max-tokens bounds what is written")
    if sampling and (sorts or chooses):
        raise UsageError(f"{sampling[0]} is for models that write, and {bundle} {'chooses sentences' if chooses else 'sorts'}")
    if flags["likeness"] and not flags["memory"]:
        raise UsageError("--likeness is about the texts of a memory, and none is given", hint="--memory FILE")
    for name in ("memory", "glossary", "overwrite"):
        if flags[name] and not (source and task == "translate" and localising.is_localisation(source)):
            raise UsageError(f"--{name} is for translating a localisation file (--input messages.po)" + (f", and {bundle} was made for {task}" if task != "translate" else ""))


def _given(opened: Understudy, texts: list[str], top: int, as_json: bool) -> None:
    said = opened.predict(texts)
    ranked = [_ranked(opened, text, top) for text in texts] if top > 1 else [None] * len(texts)
    if as_json:
        click.echo(json.dumps([_plain(text, one, more) for text, one, more in zip(texts, said, ranked, strict=True)], ensure_ascii=False))
        return
    for text, one, more in zip(texts, said, ranked, strict=True):
        label = one.label if one.label is not None else f"(hand over; best guess {one.best})"
        click.echo(f"{label}  {one.confidence:.1%}  ({one.rung}, {one.milliseconds:.2g} ms)" + (f"  {text}" if len(texts) > 1 else ""))
        for name, share in (more or [])[1:]:
            click.echo(f"    {name}  {share:.1%}")


def _ranked(opened: Understudy, text: str, top: int) -> list[tuple[str, float]]:
    probs = opened.predict_proba(text)[0]
    return [(opened.labels[index], float(probs[index])) for index in (-probs).argsort(kind="stable")[:top]]


def _plain(text: str, said: Prediction, more: list[tuple[str, float]] | None) -> dict:
    told = {"text": text, "label": said.label, "confidence": said.confidence, "best": said.best, "rung": said.rung, "milliseconds": said.milliseconds}
    return {**told, "top": [{"label": label, "confidence": share} for label, share in more]} if more else told


def _columns(opened: Understudy, top: int) -> tuple[str, ...]:
    """The columns that a file gets: label, confidence, rung and, for --top, label_2, confidence_2 and so on."""
    return ("label", "confidence", "rung", *(f"{name}_{place}" for place in range(2, min(top, len(opened.labels)) + 1) for name in ("label", "confidence")))


def _labeller(opened: Understudy, top: int) -> Callable[[list[str]], list[tuple[object, ...]]]:
    """What gives the values of those columns for some texts."""
    more = min(top, len(opened.labels))

    def labels(texts: list[str]) -> list[tuple[object, ...]]:
        answers = opened.answer(texts)
        ranked = (-answers.probs).argsort(1, kind="stable")[:, :more]
        out: list[tuple[object, ...]] = []
        for p, order, rung, sure in zip(answers.probs, ranked, answers.rung, answers.answered, strict=True):
            first = opened.labels[order[0]] if sure else ""
            others = [value for index in order[1:] for value in (opened.labels[index], round(float(p[index]), 6))]
            out.append((first, round(float(p[order[0]]), 6), opened.manifest.rungs[rung].name, *others))
        return out

    return labels
