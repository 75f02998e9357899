"""Rotary position embeddings: the ways a config stretches them, and how llama.cpp is told.

Configs of transformers 5 hold `rope_parameters`; older ones hold `rope_theta` and `rope_scaling`.
"""

from __future__ import annotations

import math

import numpy as np

from .config import Config
from .family import Array, Value


def parameters(config: Config, kind: str | None = None) -> Config:
    """The rope settings as one object, whichever way the config writes them; `kind` picks a layer type where they differ."""
    found = config.part("rope_parameters")
    if kind and isinstance(found.get(kind), dict):
        found = found.part(kind)
    values = dict(found.values) or {**config.part("rope_scaling").values}
    for key in ("rope_theta", "partial_rotary_factor", "original_max_position_embeddings"):
        if values.get(key) is None and config.has(key):
            values[key] = config.get(key)
    values["rope_type"] = values.get("rope_type") or values.get("type") or "default"
    return Config(values, f"the rope settings of {config.where}")


def metadata(rope: Config, *, theta: float = 10_000.0, allowed: tuple[str, ...] = ("default", "linear")) -> dict[str, Value]:
    """The keys for a rope of type default, linear or llama3; other types raise DataError."""
    kind = rope.get("rope_type")
    if kind not in allowed:
        raise rope.refuse("rope_type", kind, f"this family can be written with {', '.join(allowed)}")
    keys: dict[str, Value] = {"rope.freq_base": rope.real("rope_theta", theta)}
    if kind == "linear":
        keys |= {"rope.scaling.type": "linear", "rope.scaling.factor": rope.real("factor")}
    return keys


def whole(rope: Config) -> None:
    """Raises DataError where only a part of each head is rotated, in families whose llama.cpp graph rotates all of it."""
    if rope.has("partial_rotary_factor") and rope.real("partial_rotary_factor") != 1.0:
        raise rope.refuse("partial_rotary_factor", rope.get("partial_rotary_factor"), "llama.cpp rotates whole heads in this family")


def llama3_factors(rope: Config, head: int) -> Array:
    """Llama 3's divisors of the rotation frequencies, float32 [head / 2]: slow rotations are slowed by `factor`, fast ones kept."""
    base, factor = rope.real("rope_theta", 10_000.0), rope.real("factor")
    low, high, trained = rope.real("low_freq_factor"), rope.real("high_freq_factor"), rope.size("original_max_position_embeddings")
    if high <= low:
        raise rope.bad("high_freq_factor", high, f"above the low_freq_factor of {low}")
    wave = 2 * math.pi * base ** (np.arange(0, head, 2, dtype=np.float64) / head)
    smooth = (trained / wave - low) / (high - low)
    between = 1 / ((1 - smooth) / factor + smooth)
    return np.where(wave < trained / high, 1.0, np.where(wave > trained / low, factor, between)).astype(np.float32)


def long_factors(rope: Config, rotated: int) -> dict[str, Array]:
    """Phi-3's two lists of divisors, float32 [rotated / 2] each: within the trained context, and beyond it."""
    return {f"rope_factors_{which}.weight": np.array(rope.reals(f"{which}_factor", rotated // 2), np.float32)
            for which in ("long", "short")}


def long_metadata(rope: Config, context: int) -> dict[str, Value]:
    """The keys of Phi-3's long rope: the trained context, and by how much attention is sharpened beyond it."""
    trained = rope.size("original_max_position_embeddings")
    stretch = context / trained
    usual = math.sqrt(1 + math.log(stretch) / math.log(trained)) if stretch > 1 else 1.0
    return {"rope.freq_base": rope.real("rope_theta", 10_000.0), "rope.scaling.original_context_length": trained,
            "rope.scaling.attn_factor": rope.real("attention_factor", usual)}
