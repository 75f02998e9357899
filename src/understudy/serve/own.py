"""Our own shapes: /v1/classify, /v1/translate, /v1/summarize, with confidence, rung, abstention and timing in every answer."""

from __future__ import annotations

from typing import Annotated

from msgspec import UNSET, Meta, Struct, UnsetType

from . import answers
from .call import Call, Route

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


class Classified(Struct):
    """`label` is null where the model hands over; `best` is its best guess all the same. `rung` is which model of the cascade answered."""

    label: str | None
    confidence: float
    abstained: bool
    best: str
    rung: str
    top: list[Label] | UnsetType = UNSET


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
    labels = version.loaded.model.manifest.labels
    out = [Classified(one.label, one.confidence, one.label is None, one.best, one.rung) for one in said]
    if body.top > 1:
        for classified, one in zip(out, said, strict=True):
            order = (-one.probs).argsort(kind="stable")[:body.top]
            classified.top = [Label(labels[index], float(one.probs[index])) for index in order]
    return ClassifyResponse(call.id, entry.name, version.loaded.id, out, call.milliseconds)


ROUTES = [Route("POST", "/v1/classify", classify, "Labels for one text or several.", ClassifyResponse, ClassifyRequest, errors=(404, 424))]
