"""/v1/embeddings."""

from __future__ import annotations

import base64
from typing import Literal

from msgspec import Struct

from .. import answers
from ..call import Call, Route
from ..problems import bad


class EmbeddingRequest(Struct, forbid_unknown_fields=True):
    """A text or several. `dimensions` can only be what the model has."""

    input: str | list[str]
    model: str | None = None
    encoding_format: Literal["float", "base64"] = "float"
    dimensions: int | None = None
    user: str | None = None


class Embedding(Struct):
    """The vector of one text, of length 1: numbers, or base64 of float32."""

    embedding: list[float] | str
    index: int
    object: str = "embedding"


class EmbeddingUsage(Struct):
    """Tokens read."""

    prompt_tokens: int
    total_tokens: int


class EmbeddingResponse(Struct):
    """One vector per text, in order."""

    data: list[Embedding]
    model: str
    usage: EmbeddingUsage
    object: str = "list"


async def embed(call: Call, body: EmbeddingRequest) -> EmbeddingResponse:
    """Vectors of texts."""
    texts = answers.listed(body.input, call, "input")
    entry, vectors, tokens = await answers.embed_texts(call, body.model, texts)
    if body.dimensions not in (None, vectors.shape[1]):
        raise bad(f"this model's vectors have {vectors.shape[1]} dimensions", param="dimensions")
    packed = [base64.b64encode(row.astype("<f4").tobytes()).decode() if body.encoding_format == "base64" else row.tolist() for row in vectors]
    return EmbeddingResponse([Embedding(one, index) for index, one in enumerate(packed)], body.model or entry.name, EmbeddingUsage(tokens, tokens))


ROUTES = [Route("POST", "/v1/embeddings", embed, "Vectors of texts, from classifiers that have an encoder.", EmbeddingResponse, EmbeddingRequest, errors=(404, 424))]
