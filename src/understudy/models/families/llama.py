"""Llama 2 and 3, SmolLM2 and other models saved as LlamaForCausalLM."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from . import rope
from .config import Config
from .family import (
    Array,
    Family,
    Tensor,
    Value,
    attention,
    base_metadata,
    ends,
    feed_forward,
    need_activation,
    norms,
    shape_of,
)


def interleave(weights: Array, heads: int) -> Array:
    """Rows of each head from half-split to pairwise order: llama.cpp rotates neighbours in this architecture.

    [heads * size, …] → the same shape.
    """
    size = weights.shape[0] // heads
    return weights.reshape(heads, 2, size // 2, *weights.shape[1:]).swapaxes(1, 2).reshape(weights.shape)


def metadata(config: Config) -> dict[str, Value]:
    """Metadata below `llama.`."""
    need_activation(config, "hidden_act", ("silu", "swish"))
    settings = rope.parameters(config)
    rope.whole(settings)
    return base_metadata(config, shape_of(config)) | rope.metadata(settings, allowed=("default", "linear", "llama3"))


def tensors(config: Config) -> Iterator[Tensor]:
    """Every tensor of a Llama checkpoint."""
    shape = shape_of(config)
    bias = "qkvo" if config.flag("attention_bias", False) else ""
    yield from ends(config, shape, tied=False)
    query, key = (partial(interleave, heads=heads) for heads in (shape.heads, shape.kv_heads))
    for layer in range(shape.layers):
        yield from attention(shape, layer, query=query, key=key, bias=bias)
        yield from feed_forward(shape, layer, bias=config.flag("mlp_bias", False))
        yield from norms(shape, layer, {"input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm"})


def extra(config: Config) -> dict[str, Array]:
    """Llama 3's rope factors."""
    settings = rope.parameters(config)
    return {"rope_freqs.weight": rope.llama3_factors(settings, shape_of(config).head)} if settings.get("rope_type") == "llama3" else {}


FAMILY = Family(("llama",), ("LlamaForCausalLM",), "llama", metadata, tensors, extra)
