"""A smaller decoder out of a larger one: fewer layers, fewer channels, heads and neurons, chosen by what texts make of them.

One pass over some texts measures everything (Muralidharan et al. 2024, arXiv 2407.14679): a layer counts by how far it turns the
residual stream, a channel by what the norms let through of it, a head or neuron by what it adds to the stream. Heads go in the
groups that share a key, so every group keeps its size. What is left over is scaled so that norms give what they gave: channels, heads
and neurons that were always zero go without a trace.
"""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from ..errors import DataError, UsageError
from .based import BESIDE, Based

_BLOCK = 32
"""Channels and neurons stay multiples of this, the block that 8-bit and 4-bit weights are stored in."""
_AXES = {"embed_tokens": ("", "width"), "lm_head": ("", "width"), "q_proj": ("query", "width"), "k_proj": ("key", "width"),
         "v_proj": ("key", "width"), "qkv_proj": ("fused", "width"), "o_proj": ("width", "query"), "gate_proj": ("inner", "width"),
         "up_proj": ("inner", "width"), "gate_up_proj": ("both", "width"), "down_proj": ("width", "inner"), "q_norm": ("",), "k_norm": ("",)}
_NORMS = ("input_layernorm", "post_attention_layernorm", "pre_feedforward_layernorm", "post_feedforward_layernorm", "norm")
_PATTERNS = ("sliding_window_pattern", "_sliding_window_pattern")


@dataclass(frozen=True)
class Size:
    """A decoder's layers, channels, neurons, heads, key heads, channels of a head and parameters."""

    layers: int
    width: int
    inner: int
    heads: int
    kv_heads: int
    head: int
    parameters: int = 0

    def __str__(self) -> str:
        return f"{self.layers} layers, {self.width} channels, {self.heads} heads, {self.inner} neurons, {self.parameters:,} parameters"


class _Measured:
    """Mean squares over all tokens of the texts, float32: what comes into and out of each norm, into each output and down
    projection, by module name; and of each layer 1 − the cosine of what goes in and what comes out."""

    def __init__(self, model: Any, ids: Sequence[Sequence[int]]) -> None:
        self.into: dict[str, torch.Tensor] = {}
        self.out: dict[str, torch.Tensor] = {}
        self.turned = torch.zeros(len(model.model.layers))
        self._tokens = 0
        hooks = []
        for name, module in model.named_modules():
            last = name.rpartition(".")[2]
            if last in (*_NORMS, "o_proj", "down_proj"):
                hooks.append(module.register_forward_hook(self._seen(name)))
        hooks += [layer.register_forward_hook(self._turned(at)) for at, layer in enumerate(model.model.layers)]
        try:
            with torch.no_grad():
                for one in ids:
                    model.model(input_ids=torch.tensor([list(one)]), use_cache=False)
                    self._tokens += len(one)
        finally:
            for hook in hooks:
                hook.remove()
        for found in (self.into, self.out):
            found.update({name: total / max(1, self._tokens) for name, total in found.items()})
        self.turned /= max(1, self._tokens)

    def _seen(self, name: str) -> Any:
        def hook(module: Any, given: tuple[torch.Tensor, ...], out: torch.Tensor) -> None:
            for found, value in ((self.into, given[0]), (self.out, out)):
                found[name] = found.get(name, torch.zeros(())) + value.float().square().sum((0, 1))

        return hook

    def _turned(self, at: int) -> Any:
        def hook(module: Any, given: tuple[torch.Tensor, ...], out: Any) -> None:
            after = out[0] if isinstance(out, tuple) else out
            self.turned[at] += (1 - torch.cosine_similarity(given[0].float(), after.float(), dim=-1)).sum()

        return hook


def prune(folder: Path, out: Path, ids: Sequence[Sequence[int]], *, layers: int | None = None, share: float | None = None) -> tuple[Size, Size]:
    """Writes to `out` the checkpoint in `folder` with `layers` of its layers and `share` (0–1) of its width; (size before, size after).

    `ids` are token sequences like those that the model will read. Patterns of windows stay what they are: of layers that differ in
    kind those are chosen that continue the pattern. Raises UsageError for more layers than there are or a share outside 0–1,
    DataError for a tensor that is not known here.
    """
    based = Based(folder, full=True).eval()
    before = _size(based)
    if layers is not None and not 1 <= layers <= before.layers:
        raise UsageError(f"{layers} layers are to be kept, and {folder} has {before.layers}", hint=f"from 1 to {before.layers}")
    if share is not None and not 0 < share <= 1:
        raise UsageError(f"{share} of the width is to be kept", hint="a share above 0 and up to 1, e.g. 0.5")
    measured = _Measured(based.model, ids)
    kept = _layers(measured.turned, layers or before.layers, getattr(based.model.config, "layer_types", None))
    after = _smaller(before, len(kept), share) if share is not None else Size(**{**vars(before), "layers": len(kept)})
    chosen = [_chosen(based, measured, layer, before, after) for layer in kept]
    state = _sliced(based, measured, kept, chosen, before, after)
    _save(based, out, state, kept, after)
    return before, Size(**{**vars(after), "parameters": sum(tensor.numel() for tensor in state.values())})


def _size(based: Based) -> Size:
    config = based.model.config
    heads = int(config.num_attention_heads)
    head = int(getattr(config, "head_dim", None) or config.hidden_size // heads)
    return Size(int(config.num_hidden_layers), int(config.hidden_size), int(config.intermediate_size), heads,
                int(getattr(config, "num_key_value_heads", None) or heads), head, sum(p.numel() for p in based.model.parameters()))


def _smaller(size: Size, layers: int, share: float) -> Size:
    """The shape with a share of its width. Where the heads fill the width they still do; groups of heads go whole where there are several."""
    group = size.heads // size.kv_heads
    if size.kv_heads > 1:
        kv_heads = max(1, round(size.kv_heads * share))
        heads = kv_heads * group
    else:
        kv_heads, heads = 1, max(1, round(size.heads * share))
    width = heads * size.head if size.heads * size.head == size.width else _blocks(size.width, share)
    return Size(layers, width, _blocks(size.inner, share), heads, kv_heads, size.head)


def _blocks(count: int, share: float) -> int:
    return min(count, max(1, round(count * share / _BLOCK)) * _BLOCK)


def _layers(turned: torch.Tensor, count: int, kinds: Sequence[str] | None) -> list[int]:
    """The `count` layers that together turn the stream most, their kinds in the order of the first `count` layers'."""
    wanted = list(kinds or [""] * len(turned))[:count]
    have = list(kinds or [""] * len(turned))
    best: list[tuple[float, list[int]] | None] = [(0.0, [])] + [None] * count
    for layer, gain in enumerate(turned.tolist()):
        for filled in range(min(layer + 1, count), 0, -1):
            previous, now = best[filled - 1], best[filled]
            if previous is not None and have[layer] == wanted[filled - 1] and (now is None or previous[0] + gain > now[0]):
                best[filled] = (previous[0] + gain, [*previous[1], layer])
    found = best[count]
    assert found is not None, "the first layers themselves continue the pattern"
    return found[1]


def _chosen(based: Based, measured: _Measured, layer: int, before: Size, after: Size) -> dict[str, torch.Tensor]:
    """Which channels, rows of queries and keys, and neurons of a layer stay, ascending, by axis."""
    name = f"model.layers.{layer}"
    group = before.heads // before.kv_heads
    weights = based.model.get_submodule(name)
    heads = (measured.into[f"{name}.self_attn.o_proj"] * weights.self_attn.o_proj.weight.square().sum(0)).view(before.heads, before.head).sum(1)
    if before.kv_heads > 1:
        groups = _top(heads.view(before.kv_heads, group).sum(1), after.kv_heads)
        kept = (groups[:, None] * group + torch.arange(group)).reshape(-1)
    else:
        groups, kept = torch.arange(1), _top(heads, after.heads)
    inner = _top(measured.into[f"{name}.mlp.down_proj"] * weights.mlp.down_proj.weight.square().sum(0), after.inner)
    query, key = (_channels(some, before.head) for some in (kept, groups))
    above = before.heads * before.head
    return {"query": query, "key": key, "inner": inner, "both": torch.cat([inner, before.inner + inner]),
            "fused": torch.cat([query, above + key, above + before.kv_heads * before.head + key])}


def _channels(heads: torch.Tensor, size: int) -> torch.Tensor:
    return (heads[:, None] * size + torch.arange(size)).reshape(-1)


def _top(importance: torch.Tensor, count: int) -> torch.Tensor:
    return importance.topk(count).indices.sort().values


def _sliced(based: Based, measured: _Measured, kept: list[int], chosen: list[dict[str, torch.Tensor]], before: Size,
            after: Size) -> dict[str, torch.Tensor]:
    """The state of the smaller model, float32."""
    through = [out.sqrt() / out.sqrt().mean().clamp_min(1e-12) for name, out in measured.out.items() if _is_stream_norm(name, based)]
    width = _top(torch.stack(through).sum(0), after.width)
    tied = bool(getattr(based.model.config, "tie_word_embeddings", False))
    state = {}
    for name, tensor in based.model.state_dict().items():
        parts = name.split(".")
        if tied and parts[0] == "lm_head":
            continue
        layer = int(parts[2]) if parts[1] == "layers" else None
        if layer is not None and layer not in kept:
            continue
        place = kept.index(layer) if layer is not None else 0
        axes = {**chosen[place], "width": width}
        value = tensor.detach().float()
        for axis, what in enumerate(_axes(parts)[:value.dim()]):
            if what:
                value = value.index_select(axis, axes[what])
        value = _rescaled(name, value, based, measured, width, before.width)
        state[name if layer is None else ".".join([*parts[:2], str(place), *parts[3:]])] = value.clone().contiguous()
    return state


def _is_stream_norm(name: str, based: Based) -> bool:
    """Whether a measured module is a norm over the residual stream, and not one over what a layer adds to it."""
    return name.rpartition(".")[2] in _NORMS and not name.endswith(based.family.writers)


def _axes(parts: list[str]) -> tuple[str, ...]:
    axes = ("width",) if parts[-2] in _NORMS else _AXES.get(parts[-2])
    if axes is None:
        raise DataError(f"the tensor {'.'.join(parts)} is of no kind that is known here, so the model cannot be made smaller")
    return axes


def _rescaled(name: str, value: torch.Tensor, based: Based, measured: _Measured, width: torch.Tensor, before: int) -> torch.Tensor:
    """Norms divide by the mean square of fewer channels, and an embedding may be multiplied by the root of fewer: undone here."""
    module, family = name.rpartition(".")[0], based.family
    factor = 1.0
    if module.rpartition(".")[2] in _NORMS:
        into = measured.into[module]
        factor = float((into[width].mean() / into.mean().clamp_min(1e-20)).sqrt())
    if family.scaled_embedding and module.endswith(family.writers):
        factor *= math.sqrt(len(width) / before)
    offset = family.norm_offset if module.rpartition(".")[2] in _NORMS else 0.0
    return value if factor == 1.0 else (value + offset) * factor - offset


def _save(based: Based, out: Path, state: dict[str, torch.Tensor], kept: list[int], size: Size) -> None:
    from safetensors.torch import save_file

    out.mkdir(parents=True, exist_ok=True)
    config = {key: value for key, value in based.config.items() if key not in (*_PATTERNS, "torch_dtype", "dtype")}
    config |= {"hidden_size": size.width, "intermediate_size": size.inner, "num_attention_heads": size.heads, "num_key_value_heads": size.kv_heads,
               "num_hidden_layers": size.layers, "dtype": "float32"}
    if size.heads * size.head != size.width or "head_dim" in config:
        config["head_dim"] = size.head
    kinds = getattr(based.model.config, "layer_types", None)
    if kinds is not None:
        config["layer_types"] = [kinds[layer] for layer in kept]
    (out / "config.json").write_text(json.dumps(config, indent=1) + "\n", encoding="utf-8")
    save_file(state, out / "model.safetensors", metadata={"format": "pt"})
    for name in (*BESIDE, "generation_config.json"):
        if (based.folder / name).is_file():
            shutil.copyfile(based.folder / name, out / name)
