"""What a family says about itself, and the shapes and tensors that all decoders here share."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np

from .config import Config

Array = np.ndarray
Value = int | float | bool | str | list[int] | list[float] | list[bool]


@dataclass(frozen=True)
class Tensor:
    """One tensor of the checkpoint: its name there, its name in the GGUF file, its shape, and what is done to it.

    `change` maps a float32 array to a float32 array of the same shape; None copies.
    """

    source: str
    target: str
    shape: tuple[int, ...]
    change: Callable[[Array], Array] | None = None


def _nothing(_: Config) -> dict[str, Array]:
    return {}


def _no_notes(_: Config) -> list[str]:
    return []


@dataclass(frozen=True)
class Family:
    """A family of decoders.

    model_types and architectures: what config.json calls it. arch: what llama.cpp calls it. metadata: the keys below
    `{arch}.` with int, float, bool, str or list values. tensors: every tensor the checkpoint must hold. extra: tensors
    computed from the config alone, float32. notes: sentences about what llama.cpp will do differently. norm_offset: what
    transformers adds to a norm's weight. scaled_embedding: whether the embedding is multiplied by √width. writers: the modules of a
    layer whose output is added to the residual stream.
    Each function raises DataError for a config it cannot honour.
    """

    model_types: tuple[str, ...]
    architectures: tuple[str, ...]
    arch: str
    metadata: Callable[[Config], dict[str, Value]]
    tensors: Callable[[Config], Iterator[Tensor]]
    extra: Callable[[Config], dict[str, Array]] = field(default=_nothing)
    notes: Callable[[Config], list[str]] = field(default=_no_notes)
    norm_offset: float = 0.0
    scaled_embedding: bool = False
    writers: tuple[str, str] = ("self_attn.o_proj", "mlp.down_proj")


@dataclass(frozen=True)
class Shape:
    """The sizes of a decoder: hidden width, feed-forward width, layers, heads, key/value heads, head width, vocabulary."""

    width: int
    inner: int
    layers: int
    heads: int
    kv_heads: int
    head: int
    vocab: int


def shape_of(config: Config, *, head: int | None = None) -> Shape:
    """The sizes in a config; `head` is the family's default head width where the config names none."""
    width, heads = config.size("hidden_size"), config.size("num_attention_heads")
    kv_heads = config.size("num_key_value_heads", heads)
    if heads % kv_heads:
        raise config.bad("num_key_value_heads", kv_heads, f"a divisor of the {heads} attention heads")
    if not config.has("head_dim") and head is None and width % heads:
        raise config.bad("hidden_size", width, f"a multiple of the {heads} attention heads")
    size = config.size("head_dim", head or width // heads)
    if size % 2:
        raise config.bad("head_dim", size, "even")
    layers = config.size("num_hidden_layers")
    if layers > 1024:
        raise config.bad("num_hidden_layers", layers, "at most 1,024")
    return Shape(width, config.size("intermediate_size"), layers, heads, kv_heads, size, config.size("vocab_size"))


def base_metadata(config: Config, shape: Shape) -> dict[str, Value]:
    """The keys that every decoder has."""
    return {
        "context_length": config.size("max_position_embeddings"),
        "embedding_length": shape.width,
        "block_count": shape.layers,
        "feed_forward_length": shape.inner,
        "attention.head_count": shape.heads,
        "attention.head_count_kv": shape.kv_heads,
        "attention.key_length": shape.head,
        "attention.value_length": shape.head,
        "attention.layer_norm_rms_epsilon": config.real("rms_norm_eps", 1e-6),
        "rope.dimension_count": shape.head,
        "vocab_size": shape.vocab,
    }


def ends(config: Config, shape: Shape, *, tied: bool, norm: Callable[[Array], Array] | None = None) -> Iterator[Tensor]:
    """Embedding, final norm and, unless tied to the embedding, the output matrix."""
    yield Tensor("model.embed_tokens.weight", "token_embd.weight", (shape.vocab, shape.width))
    yield Tensor("model.norm.weight", "output_norm.weight", (shape.width,), norm)
    if not config.flag("tie_word_embeddings", tied):
        yield Tensor("lm_head.weight", "output.weight", (shape.vocab, shape.width))


def attention(shape: Shape, layer: int, *, query: Callable[[Array], Array] | None = None,
              key: Callable[[Array], Array] | None = None, bias: str = "") -> Iterator[Tensor]:
    """Query, key, value and output matrices of a layer; `bias` holds the letters among q, k, v, o that have one."""
    rows = {"q": shape.heads * shape.head, "k": shape.kv_heads * shape.head, "v": shape.kv_heads * shape.head, "o": shape.width}
    target = {"q": "attn_q", "k": "attn_k", "v": "attn_v", "o": "attn_output"}
    for letter, count in rows.items():
        change = {"q": query, "k": key}.get(letter)
        name, to = f"model.layers.{layer}.self_attn.{letter}_proj", f"blk.{layer}.{target[letter]}"
        yield Tensor(f"{name}.weight", f"{to}.weight", (count, shape.heads * shape.head if letter == "o" else shape.width), change)
        if letter in bias:
            yield Tensor(f"{name}.bias", f"{to}.bias", (count,), change)


def feed_forward(shape: Shape, layer: int, *, bias: bool = False) -> Iterator[Tensor]:
    """Gate, up and down matrices of a layer."""
    for letter in ("gate", "up", "down"):
        rows, columns = (shape.width, shape.inner) if letter == "down" else (shape.inner, shape.width)
        name, to = f"model.layers.{layer}.mlp.{letter}_proj", f"blk.{layer}.ffn_{letter}"
        yield Tensor(f"{name}.weight", f"{to}.weight", (rows, columns))
        if bias:
            yield Tensor(f"{name}.bias", f"{to}.bias", (rows,))


def norms(shape: Shape, layer: int, names: dict[str, str], *, change: Callable[[Array], Array] | None = None,
          size: int | None = None) -> Iterator[Tensor]:
    """One-dimensional norm weights of a layer: {checkpoint name: GGUF name}."""
    for source, target in names.items():
        yield Tensor(f"model.layers.{layer}.{source}.weight", f"blk.{layer}.{target}.weight", (size or shape.width,), change)


def plus_one(weights: Array) -> Array:
    """Gemma multiplies by 1 + weight, llama.cpp by the weight."""
    return weights + np.float32(1)


def need_activation(config: Config, key: str, allowed: tuple[str, ...]) -> None:
    """Raises DataError unless the activation is one that llama.cpp builds into this architecture."""
    value = config.get(key, allowed[0])
    if value not in allowed:
        raise config.refuse(key, value, f"llama.cpp computes {allowed[0]} here")


def pattern_period(config: Config, shape: Shape, default: int) -> int | None:
    """The period p such that layer i attends to everything exactly where i % p == p - 1; None when no layer has a window.

    llama.cpp knows windows only in this form. Raises DataError for other patterns.
    """
    kinds = config.get("layer_types")
    if kinds is None:
        return config.size("sliding_window_pattern", config.size("_sliding_window_pattern", default))
    full = [kind == "full_attention" for kind in kinds] if isinstance(kinds, list) else []
    if len(full) != shape.layers or any(kind not in ("full_attention", "sliding_attention") for kind in kinds):
        raise config.bad("layer_types", kinds, f"a list of {shape.layers} times full_attention or sliding_attention")
    if all(full):
        return None
    period = full.index(True) + 1 if any(full) else shape.layers + 1
    if full != [layer % period == period - 1 for layer in range(shape.layers)]:
        raise config.refuse("layer_types", kinds, "llama.cpp knows sliding windows only in a repeating pattern")
    return period
