"""Gemma: norms that multiply by 1 + weight, head widths of their own, the embedding as output matrix."""

from __future__ import annotations

from collections.abc import Iterator

from . import rope
from .config import Config
from .family import (
    Family,
    Tensor,
    Value,
    attention,
    base_metadata,
    ends,
    feed_forward,
    need_activation,
    norms,
    plus_one,
    shape_of,
)

HEAD = 256


def need_tied(config: Config) -> None:
    """Raises DataError unless the output matrix is the embedding: llama.cpp reads no other in the Gemma families."""
    if not config.flag("tie_word_embeddings", True):
        raise config.refuse("tie_word_embeddings", False, "llama.cpp always ties them in this family")
    if config.flag("attention_bias", False):
        raise config.refuse("attention_bias", True, "llama.cpp has no attention biases in this family")
    if config.get("use_bidirectional_attention"):
        raise config.refuse("use_bidirectional_attention", True, "only models that read left to right can be written")


def metadata(config: Config) -> dict[str, Value]:
    """Metadata below `gemma.`."""
    if config.has("hidden_activation"):
        need_activation(config, "hidden_activation", ("gelu_pytorch_tanh",))
    need_activation(config, "hidden_act", ("gelu_pytorch_tanh", "gelu"))
    need_tied(config)
    settings = rope.parameters(config)
    rope.whole(settings)
    return base_metadata(config, shape_of(config, head=HEAD)) | rope.metadata(settings)


def tensors(config: Config) -> Iterator[Tensor]:
    """Every tensor of a Gemma checkpoint."""
    shape = shape_of(config, head=HEAD)
    yield from ends(config, shape, tied=True, norm=plus_one)
    for layer in range(shape.layers):
        yield from attention(shape, layer)
        yield from feed_forward(shape, layer)
        yield from norms(shape, layer, {"input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm"}, change=plus_one)


def notes(config: Config) -> list[str]:
    """The first Gemma configs say gelu; llama.cpp computes its tanh approximation."""
    if config.get("hidden_act") == "gelu" and not config.has("hidden_activation"):
        return ["the config says gelu; llama.cpp computes its tanh approximation, as the published Gemma models were trained"]
    return []


FAMILY = Family(("gemma",), ("GemmaForCausalLM",), "gemma", metadata, tensors, notes=notes, norm_offset=1.0, scaled_embedding=True)
