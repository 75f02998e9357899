"""Cross-entropy of the next piece, −log softmax(h·Eᵀ)[wanted], with the product in front of it: its gradient is made on the way there.

Scores of some rows at a time, so that they never all lie in memory, and each is touched a few times while it is near: as in Cut Your
Losses (arXiv 2411.09009), in plain PyTorch.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.nn import functional as F

_ROWS, _FULL, _NEAR = 1024, 256, 64
"""Rows scored at once; what fewer are filled up to a multiple of, since a CPU keeps a program for every shape of a product; rows that stay
near the core while their scores become a gradient. 4,096 rows of 8,000 pieces take 333 ms on one thread, nearly all of it products."""


def loss(h: torch.Tensor, embedding: torch.Tensor, wanted: torch.Tensor, smoothing: float = 0.0) -> torch.Tensor:
    """Mean over the rows in nats; h (n, width), embedding (pieces, width), wanted (n,). `smoothing` 0–1 of what is wanted is spread over all
    pieces. Products are computed in autocast's numbers where that is on."""
    where = h.device.type
    used = torch.get_autocast_dtype(where) if torch.is_autocast_enabled(where) else h.dtype
    with torch.autocast(where, enabled=False):
        return _NextPiece.apply(h, embedding, wanted, smoothing, used, torch.is_grad_enabled())


class _NextPiece(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, h: torch.Tensor, embedding: torch.Tensor, wanted: torch.Tensor, smoothing: float, used: torch.dtype, learning: bool) -> torch.Tensor:
        weight, total = embedding.to(used), h.new_zeros((), dtype=torch.float32)
        dh, de = (torch.empty_like(h), torch.zeros_like(embedding)) if learning else (h, embedding)
        room = weight.new_empty(_ROWS, len(weight))
        for begin in range(0, len(h), _ROWS):
            some, at = h[begin:begin + _ROWS].to(used), wanted[begin:begin + _ROWS, None]
            some = F.pad(some, (0, 0, 0, -len(some) % _FULL))
            scores = torch.mm(some, weight.T, out=room[:len(some)])
            for part, next_ in zip(scores[:len(at)].split(_NEAR), at.split(_NEAR), strict=True):
                total += _turned(part, next_, smoothing)
            if learning:
                # Of the rows that fill up the scores stay: they meet rows of zeros, and are cut off.
                dh[begin:begin + len(at)] = (scores @ weight)[:len(at)]
                de += scores.T @ some
        ctx.save_for_backward(dh, de)
        return total / len(h)

    @staticmethod
    def backward(ctx: Any, g: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        dh, de = ctx.saved_tensors
        share = g / len(dh)
        return dh * share, de * share, None, None, None, None


def _turned(scores: torch.Tensor, wanted: torch.Tensor, smoothing: float) -> torch.Tensor:
    """The sum of the rows' losses; in place of the scores comes its gradient."""
    p = torch.softmax(scores, -1, dtype=torch.float32)
    found = -p.gather(1, wanted).clamp(min=torch.finfo(p.dtype).tiny).log().sum()
    if smoothing:
        # The mean of −log p over all pieces is −log p of one of them and how far its score is above the mean score.
        found += smoothing * (scores.gather(1, wanted).float().sum() - scores.mean(1, dtype=torch.float32).sum())
    p.scatter_add_(1, wanted, p.new_full(wanted.shape, smoothing - 1))
    scores.copy_(p.sub_(smoothing / p.shape[1]) if smoothing else p)
    return found
