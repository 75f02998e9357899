"""Our own shapes: /v1/classify, /v1/translate, /v1/summarize, with confidence, rung, abstention and timing in every answer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, cast

from msgspec import UNSET, Meta, Struct, UnsetType

from ..fleet.entry import Entry, Version
from ..fleet.generation import written
from ..run.generate.sampling import Sampling
from ..run.writing import Writer, Written
from . import answers
from .call import Call, Route
from .problems import bad

if TYPE_CHECKING:
    from .large.labels import Handed

Texts = str | list[str]
Positive = Annotated[int, Meta(ge=1, le=1_000_000)]


class ClassifyRequest(Struct, forbid_unknown_fields=True):
    """`inputs`: one text or several. `top`: how many labels to give per text."""

    inputs: Texts
    model: str | None = None
    top: Annotated[int, Meta(ge=1, le=1000)] = 1


class Label(Struct):
    """A label and its calibrated probability."""

    label: str
    confidence: float


class Handover(Struct):
    """The small model abstained and the large one was asked. `outcome` is answered, or why it gave no label: unreachable, cut, late, auth, refused,
    rate, failing, redirect, nonsense, too_large, open (it is left alone after failures), busy. `rung` is the small model's."""

    outcome: str
    rung: str
    milliseconds: float


class Classified(Struct):
    """`label` is null where nobody is sure; `rung` is who answered: a model of the cascade, or "large". `confidence` and `best` are always the
    small model's own: its best guess, and how sure it is of that."""

    label: str | None
    confidence: float
    abstained: bool
    best: str
    rung: str
    top: list[Label] | UnsetType = UNSET
    handover: Handover | UnsetType = UNSET


class ClassifyResponse(Struct):
    """One answer per text, in order. `milliseconds` is the whole request; `version` the bundle that answered."""

    id: str
    model: str
    version: str
    answers: list[Classified]
    milliseconds: float


async def classify(call: Call, body: ClassifyRequest) -> ClassifyResponse:
    """Labels for one text or several."""
    texts = answers.listed(body.inputs, call)
    entry, version, said = await answers.sort_texts(call, body.model, texts)
    labels = version.loaded.model.manifest.labels  # the model may leave while the large one is asked
    return _classified(call, body, entry, version, labels, said, await answers.handed_over(call, version, texts, said))


def classify_now(call: Call, body: ClassifyRequest) -> answers.Asked | None:
    """The same, where it needs no waiting."""
    found = answers.quick(call, body.model, body.inputs)
    if found is None:
        return None
    entry, version, text = found
    waits, labels = call.service.large is not None, version.loaded.model.manifest.labels
    return answers.Asked(entry, version, text, lambda said: None if waits and said.label is None else _classified(call, body, entry, version, labels, [said], {}))


def _classified(call: Call, body: ClassifyRequest, entry: Entry, version: Version, labels: Sequence[str], said: list[answers.Sorted],
                handed: dict[int, Handed]) -> ClassifyResponse:
    out = [Classified(one.label, one.confidence, one.label is None, one.best, one.rung) for one in said]
    for place, large in handed.items():
        unsure = out[place]
        unsure.handover = Handover(large.why, unsure.rung, large.milliseconds)
        if large.label is not None:
            unsure.label, unsure.abstained, unsure.rung = large.label, False, answers.LARGE
    if body.top > 1:
        for classified, one in zip(out, said, strict=True):
            classified.top = [Label(labels[index], one.probs[index]) for index in one.ranked()[:body.top]]
    return ClassifyResponse(call.id, entry.name, version.loaded.id, out, call.milliseconds)


class TranslateRequest(Struct, forbid_unknown_fields=True):
    """`inputs`: one text or several, of any length; long ones go sentence by sentence."""

    inputs: Texts
    model: str | None = None


class Translated(Struct):
    """`finish` is end, stop or length (cut by a limit); `confidence` is null: a translator does not know its own."""

    text: str
    finish: str
    tokens: int
    parts: int
    rung: str
    abstained: bool = False
    confidence: float | None = None


class TranslateResponse(Struct):
    """One translation per text, in order."""

    id: str
    model: str
    version: str
    answers: list[Translated]
    milliseconds: float


class SummarizeRequest(Struct, forbid_unknown_fields=True):
    """`inputs`: one document or several. At most one of `words`, `sentences`, `share` (of the document's words, 0 to 1) bounds the summary."""

    inputs: Texts
    model: str | None = None
    words: Positive | None = None
    sentences: Positive | None = None
    share: Annotated[float, Meta(gt=0, le=1)] | None = None


class Summarized(Struct):
    """`extractive` says that every sentence stands in the document; `flags` are what a reader should know."""

    text: str
    extractive: bool
    flags: list[str]
    words: int
    rung: str
    abstained: bool = False
    confidence: float | None = None


class SummarizeResponse(Struct):
    """One summary per document, in order."""

    id: str
    model: str
    version: str
    answers: list[Summarized]
    milliseconds: float


async def translate(call: Call, body: TranslateRequest) -> TranslateResponse:
    """Translations of one text or several."""
    texts = answers.listed(body.inputs, call)
    async with answers.leased(call, body.model, texts[0], "translate") as (entry, version):
        said = await write_all(call, version, texts)
        rung = entry.about["rungs"][-1]["name"]
        out = [Translated(one.text, one.finish, one.tokens, one.parts, rung) for one in said]
        return TranslateResponse(call.id, entry.name, version.loaded.id, out, call.milliseconds)


async def summarize(call: Call, body: SummarizeRequest) -> SummarizeResponse:
    """Summaries of one document or several."""
    texts = answers.listed(body.inputs, call)
    length = {name: value for name in ("words", "sentences", "share") if (value := getattr(body, name)) is not None}
    if len(length) > 1:
        raise bad(f"{' and '.join(length)} are given; one of them bounds a summary", param=next(iter(length)))
    async with answers.leased(call, body.model, texts[0], "summarize") as (entry, version):
        rung = entry.about["rungs"][-1]["name"]
        if version.loaded.sort == "summarize":
            chosen = await answers.choose_with(call, version, texts, length)
            out = [Summarized(one.text, True, list(one.flags), one.words, rung) for one in chosen]
        else:
            if "share" in length:
                raise bad("share is for models that choose sentences; this one writes", param="share")
            said = await write_all(call, version, texts, **length)
            out = [Summarized(one.text, False, list(one.flags), len(one.text.split()), rung) for one in said]
        return SummarizeResponse(call.id, entry.name, version.loaded.id, out, call.milliseconds)


async def write_all(call: Call, version: Version, texts: list[str], **length: int) -> list[Written]:
    """What a model that writes says to texts, one after the other: each takes all the slots it can."""
    writer = cast(Writer, version.loaded.model)
    sampling = Sampling(max_tokens=writer.prompt.max_tokens)
    said = [await written(version, text, sampling, call.deadline, **length) for text in texts]
    call.notes |= {"prompt_tokens": sum(one.prompt_tokens for one in said), "tokens": sum(one.tokens for one in said)}
    return said


ROUTES = [
    Route("POST", "/v1/classify", classify, "Labels for one text or several.", ClassifyResponse, ClassifyRequest, at_once=classify_now,
          errors=(404, 424)),
    Route("POST", "/v1/translate", translate, "Translations of one text or several.", TranslateResponse, TranslateRequest, errors=(404, 424)),
    Route("POST", "/v1/summarize", summarize, "Summaries of one document or several.", SummarizeResponse, SummarizeRequest, errors=(404, 424)),
]
