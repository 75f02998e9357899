"""Phi-3, Phi-3.5 and Phi-4-mini: query, key and value in one matrix, gate and up in one matrix, two lists of rope factors."""

from __future__ import annotations

from collections.abc import Iterator

from . import rope
from .config import Config
from .family import Array, Family, Shape, Tensor, Value, base_metadata, ends, need_activation, norms, shape_of

_LONG = ("longrope", "su")


def _rotated(settings: Config, shape: Shape) -> int:
    part = settings.real("partial_rotary_factor", 1.0)
    if part > 1 or int(shape.head * part) % 2:
        raise settings.bad("partial_rotary_factor", part, "a share of the head that makes an even number of channels")
    return int(shape.head * part)


def metadata(config: Config) -> dict[str, Value]:
    """Metadata below `phi3.`."""
    need_activation(config, "hidden_act", ("silu",))
    shape, settings = shape_of(config), rope.parameters(config)
    if shape.head * shape.heads != shape.width:
        raise config.refuse("head_dim", shape.head, f"in llama.cpp {shape.heads} heads have to fill the width of {shape.width}")
    keys = base_metadata(config, shape) | {"rope.dimension_count": _rotated(settings, shape)}
    if settings.get("rope_type") in _LONG:
        return keys | rope.long_metadata(settings, config.size("max_position_embeddings"))
    return keys | rope.metadata(settings)


def tensors(config: Config) -> Iterator[Tensor]:
    """Every tensor of a Phi-3 checkpoint."""
    shape = shape_of(config)
    rows = (shape.heads + 2 * shape.kv_heads) * shape.head
    yield from ends(config, shape, tied=False)
    for layer in range(shape.layers):
        name, to = f"model.layers.{layer}", f"blk.{layer}"
        yield Tensor(f"{name}.self_attn.qkv_proj.weight", f"{to}.attn_qkv.weight", (rows, shape.width))
        yield Tensor(f"{name}.self_attn.o_proj.weight", f"{to}.attn_output.weight", (shape.width, shape.heads * shape.head))
        yield Tensor(f"{name}.mlp.gate_up_proj.weight", f"{to}.ffn_up.weight", (2 * shape.inner, shape.width))
        yield Tensor(f"{name}.mlp.down_proj.weight", f"{to}.ffn_down.weight", (shape.width, shape.inner))
        yield from norms(shape, layer, {"input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm"})


def extra(config: Config) -> dict[str, Array]:
    """The long rope's two lists of factors."""
    settings = rope.parameters(config)
    return rope.long_factors(settings, _rotated(settings, shape_of(config))) if settings.get("rope_type") in _LONG else {}


def notes(config: Config) -> list[str]:
    """The window that llama.cpp leaves out, and when it changes rope factors."""
    said, settings = [], rope.parameters(config)
    if config.has("sliding_window") and config.size("sliding_window") < config.size("max_position_embeddings"):
        said.append(f"llama.cpp ignores this family's sliding window: beyond {config.size('sliding_window'):,} tokens its answers differ")
    if settings.get("rope_type") in _LONG:
        trained = settings.size("original_max_position_embeddings")
        said.append(f"open it with a context of at most {trained:,} tokens for short prompts: in a larger one llama.cpp uses "
                    "the long rope factors for every prompt")
    return said


FAMILY = Family(("phi3",), ("Phi3ForCausalLM",), "phi3", metadata, tensors, extra, notes)
