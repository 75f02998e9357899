"""What chat and completions share: how to choose tokens, the cost of an answer, the probabilities of its tokens."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from msgspec import Meta, Struct

from ...run.generate.results import Choice
from .. import speaking
from ..problems import bad

Common = Annotated[int, Meta(ge=1, le=1_048_576)]
Nothing = Annotated[float, Meta(ge=0, le=0)]
Several = Annotated[int, Meta(ge=1, le=8)]
Stop = Annotated[str, Meta(min_length=1, max_length=256)]


class StreamOptions(Struct, forbid_unknown_fields=True):
    """`include_usage`: a last event with the cost."""

    include_usage: bool = False
    include_obfuscation: bool | None = None


class Shared(Struct, kw_only=True):
    """How to choose tokens. Without `temperature` the likeliest token is taken each time, and the penalties can only be 0.

    `n` choices differ by their `seed`, the first having the one that is given; at temperature 0, and from a model that does not write, they are
    one answer `n` times, computed once.
    """

    model: str | None = None
    stream: bool = False
    stream_options: StreamOptions | None = None
    max_tokens: Common | None = None
    temperature: Annotated[float, Meta(ge=0, le=10)] | None = None
    top_p: Annotated[float, Meta(gt=0, le=1)] | None = None
    top_k: Annotated[int, Meta(ge=0, le=1_048_576)] | None = None
    min_p: Annotated[float, Meta(ge=0, le=1)] | None = None
    repeat_penalty: Annotated[float, Meta(ge=0.1, le=10)] | None = None
    stop: Stop | Annotated[list[Stop], Meta(max_length=16)] | None = None
    seed: Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)] | None = None
    n: Several | None = None
    presence_penalty: Nothing | None = None
    frequency_penalty: Nothing | None = None
    user: str | None = None
    store: bool | None = None
    metadata: dict[str, str] | None = None

    def sampling(self) -> dict[str, Any]:
        """The fields of Sampling that were given."""
        names = ("max_tokens", "temperature", "top_p", "top_k", "min_p", "repeat_penalty")
        told: dict[str, Any] = {name: value for name in names if (value := getattr(self, name)) is not None}
        if self.seed is not None:
            told["seed"] = self.seed % speaking.SEEDS
        if self.stop:
            told["stop"] = speaking.stops(self.stop)
        return told


class Usage(Struct):
    """Tokens read and written; 0 for models that count none."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int


class Schema(Struct, forbid_unknown_fields=True):
    """A named JSON schema."""

    name: Annotated[str, Meta(max_length=64)]
    schema: dict[str, Any] | None = None
    strict: bool | None = None
    description: str | None = None


class Format(Struct, forbid_unknown_fields=True):
    """text, json_object, or json_schema with a schema that the answer is held to."""

    type: Literal["text", "json_object", "json_schema"]
    json_schema: Schema | None = None


Choices = Sequence[Choice]


def schema_of(form: Format | None) -> dict[str, Any] | None:
    """The schema that an answer is held to. Raises 400 for one that is missing."""
    if form is None or form.type == "text":
        if form is not None and form.json_schema is not None:
            raise bad("json_schema belongs to the type json_schema", param="response_format")
        return None
    if form.type == "json_object":
        return {"type": "object"}
    if form.json_schema is None or form.json_schema.schema is None:
        raise bad("the type json_schema needs json_schema.schema", param="response_format")
    return form.json_schema.schema


def chosen_tokens(chosen: Choices, top: int) -> list[dict[str, Any]]:
    """The tokens of an answer with their probabilities, as chat tells them."""
    return [{**_token(one.token, one.logprob), "top_logprobs": [_token(*other) for other in one.top[:top]]} for one in chosen]


def _token(token: str, logprob: float) -> dict[str, Any]:
    return {"token": token, "logprob": logprob, "bytes": list(token.encode("utf-8", "replace"))}
