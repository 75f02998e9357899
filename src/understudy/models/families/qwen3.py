"""Qwen 3: a norm on each query and key head."""

from __future__ import annotations

from collections.abc import Iterator

from . import qwen2
from .config import Config
from .family import Family, Tensor, Value, attention, ends, feed_forward, norms, shape_of

HEAD = 128


def metadata(config: Config) -> dict[str, Value]:
    """Metadata below `qwen3.`."""
    if config.flag("attention_bias", False):
        raise config.refuse("attention_bias", True, "llama.cpp has no attention biases in this family")
    return qwen2.metadata(config, head=HEAD)


def tensors(config: Config) -> Iterator[Tensor]:
    """Every tensor of a Qwen 3 checkpoint."""
    shape = shape_of(config, head=HEAD)
    yield from ends(config, shape, tied=False)
    for layer in range(shape.layers):
        yield from attention(shape, layer)
        yield from norms(shape, layer, {"self_attn.q_norm": "attn_q_norm", "self_attn.k_norm": "attn_k_norm"}, size=shape.head)
        yield from feed_forward(shape, layer)
        yield from norms(shape, layer, {"input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm"})


FAMILY = Family(("qwen3",), ("Qwen3ForCausalLM",), "qwen3", metadata, tensors)
