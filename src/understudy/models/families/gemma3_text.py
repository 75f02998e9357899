"""Gemma 3, text only: norms on query and key heads, windows on most layers, one rope for windows and one for the rest."""

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
    pattern_period,
    plus_one,
    shape_of,
)
from .gemma import HEAD, need_tied
from .gemma2 import NORMS, WRITERS, query_scale, scaled

# The layer count by which llama.cpp knows the one size of Gemma 3 whose attention is scaled by width / heads.
_LARGE = 62
_PERIOD = 6


def _local(config: Config) -> float:
    """The rope base of layers with a window. Raises DataError where their rope is stretched: llama.cpp never stretches it."""
    nested = config.part("rope_parameters")
    if not isinstance(nested.get("sliding_attention"), dict):
        return config.real("rope_local_base_freq", 10_000.0)
    settings = rope.parameters(config, "sliding_attention")
    if settings.get("rope_type") != "default":
        raise settings.refuse("rope_type", settings.get("rope_type"), "llama.cpp stretches only the layers without a window")
    return settings.real("rope_theta", 10_000.0)


def metadata(config: Config) -> dict[str, Value]:
    """Metadata below `gemma3.`."""
    need_activation(config, "hidden_activation", ("gelu_pytorch_tanh",))
    need_tied(config)
    for key in ("attn_logit_softcapping", "final_logit_softcapping"):
        if config.has(key):
            raise config.refuse(key, config.get(key), "llama.cpp caps no logits in this family")
    shape, settings = shape_of(config, head=HEAD), rope.parameters(config, "full_attention")
    rope.whole(settings)
    keys = base_metadata(config, shape) | rope.metadata(settings, theta=1e6)
    period = pattern_period(config, shape, _PERIOD)
    if period is None:
        return keys
    return keys | {"attention.sliding_window": config.size("sliding_window", 4096), "attention.sliding_window_pattern": period,
                   "rope.freq_base_swa": _local(config)}


def _query_norm(weights: Array, factor: float) -> Array:
    return scaled(plus_one(weights), factor)


def tensors(config: Config) -> Iterator[Tensor]:
    """Every tensor of a Gemma 3 checkpoint. Attention is rescaled in the query norm: a norm undoes any scale before it."""
    shape = shape_of(config, head=HEAD)
    factor = query_scale(config, shape, _LARGE)
    yield from ends(config, shape, tied=True, norm=plus_one)
    for layer in range(shape.layers):
        yield from attention(shape, layer)
        yield from norms(shape, layer, {"self_attn.q_norm": "attn_q_norm"}, change=partial(_query_norm, factor=factor), size=shape.head)
        yield from norms(shape, layer, {"self_attn.k_norm": "attn_k_norm"}, change=plus_one, size=shape.head)
        yield from feed_forward(shape, layer)
        yield from norms(shape, layer, NORMS, change=plus_one)


FAMILY = Family(("gemma3_text",), ("Gemma3ForCausalLM",), "gemma3", metadata, tensors, norm_offset=1.0, scaled_embedding=True, writers=WRITERS)
