"""Gemma 2: soft caps on attention and output logits, windows on every other layer, norms before and after each part."""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import partial

import numpy as np

from . import rope
from .config import Config
from .family import (
    Array,
    Family,
    Shape,
    Tensor,
    Value,
    attention,
    base_metadata,
    ends,
    feed_forward,
    need_activation,
    norms,
    pattern_period,
    plus_one,
    shape_of,
)
from .gemma import HEAD, need_tied

# llama.cpp always caps in this architecture; a cap this high changes no float32 logit.
_NO_CAP = 1e6
# The layer count by which llama.cpp knows the one size of Gemma 2 whose attention is scaled by width / heads.
_LARGE = 46
NORMS = {"input_layernorm": "attn_norm", "post_attention_layernorm": "post_attention_norm",
         "pre_feedforward_layernorm": "ffn_norm", "post_feedforward_layernorm": "post_ffw_norm"}
WRITERS = ("post_attention_layernorm", "post_feedforward_layernorm")


def query_scale(config: Config, shape: Shape, large: int) -> float:
    """What queries are multiplied by, so that llama.cpp's built-in attention scale becomes the config's."""
    wanted = config.real("query_pre_attn_scalar", 256)
    built_in = shape.width // shape.heads if shape.layers == large else shape.head
    return math.sqrt(built_in / wanted)


def scaled(weights: Array, factor: float) -> Array:
    """`weights` times a constant, float32."""
    return weights * np.float32(factor)


def _cap(config: Config, key: str, default: float) -> float:
    return config.real(key) if config.has(key) else default if key not in config.values else _NO_CAP


def metadata(config: Config) -> dict[str, Value]:
    """Metadata below `gemma2.`."""
    need_activation(config, "hidden_activation", ("gelu_pytorch_tanh",))
    need_tied(config)
    shape, settings = shape_of(config, head=HEAD), rope.parameters(config)
    rope.whole(settings)
    if pattern_period(config, shape, 2) != 2 and shape.layers > 1:
        raise config.refuse("layer_types", config.get("layer_types"), "llama.cpp puts a window on every other layer in this family")
    return base_metadata(config, shape) | rope.metadata(settings) | {
        "attention.sliding_window": config.size("sliding_window", 4096),
        "attn_logit_softcapping": _cap(config, "attn_logit_softcapping", 50.0),
        "final_logit_softcapping": _cap(config, "final_logit_softcapping", 30.0),
    }


def tensors(config: Config) -> Iterator[Tensor]:
    """Every tensor of a Gemma 2 checkpoint."""
    shape = shape_of(config, head=HEAD)
    factor = query_scale(config, shape, _LARGE)
    yield from ends(config, shape, tied=True, norm=plus_one)
    for layer in range(shape.layers):
        yield from attention(shape, layer, query=None if abs(factor - 1) < 1e-6 else partial(scaled, factor=factor))
        yield from feed_forward(shape, layer)
        yield from norms(shape, layer, NORMS, change=plus_one)


FAMILY = Family(("gemma2",), ("Gemma2ForCausalLM",), "gemma2", metadata, tensors, norm_offset=1.0, scaled_embedding=True, writers=WRITERS)
