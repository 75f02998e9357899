"""Causal attention with rotary positions: on a CPU that multiplies in bfloat16 by blocks of our own, elsewhere as PyTorch has it.

PyTorch's flash kernel for a CPU computes in float32 whatever it is given, and works on the hidden half of the square where there is a
mask. Here a block of queries meets only the keys before its end, all products are bfloat16, and the weights stay for the way back.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch.nn import functional as F

from .norm import halved

_BLOCK = 64
"""Queries at a time. 8 × 9 heads × 512 tokens of 32, forward and backward on one thread of an EPYC with AVX512-BF16: 54 ms; blocks of 128
74 ms, PyTorch's kernel 137 ms."""
_KEPT = 1024
"""Tokens in a row up to which weights are kept for the way back; they grow with the square, and are computed anew beyond."""


def angles(positions: torch.Tensor, head: int, theta: float) -> torch.Tensor:
    """Complex rotations (rows, 1, tokens, head / 2) of rotary positions (rows, tokens)."""
    rates = theta ** (-torch.arange(0, head, 2, dtype=torch.float32, device=positions.device) / head)
    turn = positions[:, None, :, None].float() * rates
    return torch.polar(torch.ones_like(turn), turn)


def turned(x: torch.Tensor, turn: torch.Tensor) -> torch.Tensor:
    """x (batch, tokens, heads, head), of which neighbours are one complex number, turned by its positions: (batch, heads, tokens, head)."""
    return _Turned.apply(x.transpose(1, 2), turn)


def visible(segments: torch.Tensor | None, tokens: int, like: torch.device) -> torch.Tensor | None:
    """What `attend` takes as `mask` for rows of so many tokens. `segments` (batch, tokens) int: a token sees the earlier tokens of its own
    segment only; None: all earlier ones."""
    if segments is None and not halved(like):
        return None
    seen = torch.ones(1, tokens, tokens, dtype=torch.bool, device=like).tril()
    if segments is not None:
        seen = seen & (segments[:, :, None] == segments[:, None, :])
    return torch.zeros(seen.shape, dtype=torch.bfloat16).masked_fill(~seen, -torch.inf) if halved(like) else seen[:, None]


def attend(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
    """What each token mixes from the values it sees, (batch, heads, tokens, head). `q` (batch, heads, tokens, head) is scaled, `k` and `v`
    may have fewer heads; `mask` is from `visible`."""
    if mask is None or mask.dtype == torch.bool:
        return F.scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=mask is None, scale=1.0, enable_gqa=q.shape[1] != k.shape[1])
    groups = q.shape[1] // k.shape[1]
    k, v = (x if groups == 1 else x.repeat_interleave(groups, 1) for x in (k, v))
    return _Blocks.apply(*(x.to(torch.bfloat16).flatten(0, 1) for x in (q, k, v)), mask).view(q.shape)


class _Turned(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, turn: torch.Tensor) -> torch.Tensor:
        ctx.turn = turn
        return _turned(x, turn)

    @staticmethod
    def backward(ctx: Any, g: torch.Tensor) -> tuple[torch.Tensor, None]:
        return _turned(g, ctx.turn.conj()), None


def _turned(x: torch.Tensor, turn: torch.Tensor) -> torch.Tensor:
    numbers = torch.empty(x.shape, dtype=torch.float32, device=x.device).copy_(x).unflatten(-1, (-1, 2))
    torch.view_as_complex(numbers).mul_(turn)
    return numbers.flatten(-2).to(x.dtype)


class _Blocks(torch.autograd.Function):
    """q, k, v (rows · heads, tokens, head) bfloat16, q scaled; bias (rows or 1, tokens, tokens)."""

    @staticmethod
    def forward(ctx: Any, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
        kept, mixed = [], []
        for i, j in _blocks(q.shape[1]):
            weights = _weights(q, k, bias, i, j)
            mixed.append(weights @ v[:, :j])
            if q.requires_grad and q.shape[1] <= _KEPT:
                kept.append(weights)
        ctx.save_for_backward(q, k, v, bias, *kept)
        return torch.cat(mixed, 1)

    @staticmethod
    def backward(ctx: Any, g: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, None]:
        q, k, v, bias, *kept = ctx.saved_tensors
        dq, dk, dv = torch.empty_like(q), torch.zeros(k.shape), torch.zeros(v.shape)
        for number, (i, j) in enumerate(_blocks(q.shape[1])):
            weights = kept[number] if kept else _weights(q, k, bias, i, j)
            some = g[:, i:j]
            dv[:, :j] += weights.mT @ some
            ds = torch._softmax_backward_data(some @ v[:, :j].mT, weights, -1, weights.dtype)
            dq[:, i:j] = ds @ k[:, :j]
            dk[:, :j] += ds.mT @ q[:, i:j]
        return dq, dk.to(k.dtype), dv.to(v.dtype), None


def _blocks(tokens: int) -> Iterator[tuple[int, int]]:
    return ((i, min(i + _BLOCK, tokens)) for i in range(0, tokens, _BLOCK))


def _weights(q: torch.Tensor, k: torch.Tensor, bias: torch.Tensor, i: int, j: int) -> torch.Tensor:
    """How much queries i to j take from the keys before j, (rows · heads, j - i, j)."""
    scores = q[:, i:j] @ k[:, :j].mT
    scores.unflatten(0, (len(bias), -1)).add_(bias[:, None, i:j, :j])
    return torch.softmax(scores, -1)
