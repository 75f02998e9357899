"""The shapes of text-embeddings-inference: /predict, /embed, /info. /health and /metrics are the service's own.

Its clients name no model: where several classifiers are served, `model` beside `inputs` says which, else it is the only one.
"""

from __future__ import annotations

from typing import Any, Literal, cast

from msgspec import Struct

from .._version import __version__
from ..fleet.entry import Version
from ..run.answer import Understudy
from . import answers
from .call import Call, Route
from .problems import Problem, bad


class PredictRequest(Struct, forbid_unknown_fields=True):
    """A text, or several (each alone or in a list of its own)."""

    inputs: str | list[str | list[str]]
    model: str | None = None
    raw_scores: bool = False
    truncate: bool = False
    truncation_direction: Literal["left", "Left", "right", "Right"] | None = None


class Score(Struct):
    """A label and its calibrated probability."""

    score: float
    label: str


class EmbedRequest(Struct, forbid_unknown_fields=True):
    """A text or several."""

    inputs: str | list[str]
    model: str | None = None
    normalize: bool = True
    truncate: bool = False
    truncation_direction: Literal["left", "Left", "right", "Right"] | None = None
    prompt_name: str | None = None
    dimensions: int | None = None


class Info(Struct):
    """What is served and how much it takes."""

    model_id: str
    model_sha: str
    model_dtype: str
    model_type: dict[str, Any]
    max_concurrent_requests: int
    max_input_length: int
    max_batch_tokens: int
    max_client_batch_size: int
    tokenization_workers: int
    version: str
    auto_truncate: bool = True


async def predict(call: Call, body: PredictRequest) -> list[Score | list[Score]]:
    """Every label with its score, best first."""
    if body.raw_scores:
        raise bad("raw scores are not given: these are calibrated probabilities", param="raw_scores")
    _from_the_right(body.truncation_direction)
    given = [body.inputs] if isinstance(body.inputs, str) else body.inputs
    if any(isinstance(one, list) and len(one) != 1 for one in given):
        raise bad("these models read one text, not pairs: [[text], [text]]", param="inputs")
    texts = answers.listed([one if isinstance(one, str) else one[0] for one in given], call)
    _, version, said = await answers.sort_texts(call, body.model, texts)
    out = [_scores(version, one) for one in said]
    return [*out[0]] if isinstance(body.inputs, str) else [*out]


def predict_now(call: Call, body: PredictRequest) -> answers.Asked | None:
    """The same, where it needs no waiting."""
    found = None if body.raw_scores or body.truncation_direction in ("left", "Left") else answers.quick(call, body.model, body.inputs)
    if found is None:
        return None
    entry, version, text = found
    return answers.Asked(entry, version, text, lambda said: _scores(version, said))


def _scores(version: Version, said: answers.Sorted) -> list[Score]:
    labels = cast(Understudy, version.loaded.model).labels
    return [Score(said.probs[index], labels[index]) for index in said.ranked()]


async def embed(call: Call, body: EmbedRequest) -> list[list[float]]:
    """Vectors of texts, of length 1."""
    if not body.normalize:
        raise bad("vectors here have length 1", param="normalize")
    if body.prompt_name is not None:
        raise bad("there are no prompts here", param="prompt_name")
    _from_the_right(body.truncation_direction)
    _, vectors, _ = await answers.embed_texts(call, body.model, answers.listed(body.inputs, call))
    if body.dimensions not in (None, vectors.shape[1]):
        raise bad(f"this model's vectors have {vectors.shape[1]} dimensions", param="dimensions")
    said: list[list[float]] = vectors.tolist()
    return said


async def info(call: Call, body: None) -> Info:
    """The classifier that is asked where a request names none: the only one, else the first."""
    found = [entry for entry in call.service.fleet.entries.values() if entry.about["sort"] == "classify"]
    if not found:
        raise Problem(404, "model_not_found", "no classifier is served")
    about, config = found[0].about, call.service.config
    labels = {str(index): label for index, label in enumerate(about["labels"])}
    kind = {"classifier": {"id2label": labels, "label2id": {label: int(index) for index, label in labels.items()}}}
    return Info(found[0].name, about["id"], about["rungs"][-1]["precision"], kind, config.queue, 512, config.batch_tokens, config.inputs,
                call.service.fleet.pool.threads, __version__)


def _from_the_right(direction: str | None) -> None:
    if direction in ("left", "Left"):
        raise bad("long texts are cut on the right", param="truncation_direction")


ROUTES = [
    Route("POST", "/predict", predict, "Every label with its score (text-embeddings-inference).", list[Score | list[Score]], PredictRequest, shape="tei", at_once=predict_now,
          errors=(404, 424)),
    Route("POST", "/embed", embed, "Vectors of texts (text-embeddings-inference).", list[list[float]], EmbedRequest, shape="tei", errors=(404, 424)),
    Route("GET", "/info", info, "The classifier that is asked where a request names none (text-embeddings-inference).", Info, shape="tei", errors=(404,)),
]
