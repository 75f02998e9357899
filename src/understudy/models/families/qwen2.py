"""Qwen 2 and 2.5: biased query, key and value."""

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
    shape_of,
)


def metadata(config: Config, *, head: int | None = None) -> dict[str, Value]:
    """Metadata below `qwen2.`; `head` is the head width where the config names none."""
    need_activation(config, "hidden_act", ("silu",))
    if config.flag("use_sliding_window", False):
        raise config.refuse("use_sliding_window", True, "llama.cpp has no windows in this family")
    settings = rope.parameters(config)
    rope.whole(settings)
    return base_metadata(config, shape_of(config, head=head)) | rope.metadata(settings)


def tensors(config: Config) -> Iterator[Tensor]:
    """Every tensor of a Qwen 2 checkpoint."""
    shape = shape_of(config)
    yield from ends(config, shape, tied=False)
    for layer in range(shape.layers):
        yield from attention(shape, layer, bias="qkv")
        yield from feed_forward(shape, layer)
        yield from norms(shape, layer, {"input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm"})


FAMILY = Family(("qwen2",), ("Qwen2ForCausalLM",), "qwen2", metadata, tensors)
