"""Cross-entropy of the next piece, −log softmax(h·Eᵀ)[wanted], with the product in front of it: its gradient is made on the way there.

Scores of some rows at a time, so that they never all lie in memory, and each is touched a few times while it is near: as in Cut Your
Losses (arXiv 2411.09009), in plain PyTorch.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.nn import functional as F

_ROWS = 256
"""Rows scored at once; fewer are filled up, since a CPU keeps a program for every shape of a product. 4,096 rows of 8,000 pieces take 371 ms on
one thread, of which 331 are products; 1,024 at once take 456, since memory in such pieces is given back and fetched again each time."""


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
        for begin in range(0, len(h), _ROWS):
            some, at = h[begin:begin + _ROWS].to(used), wanted[begin:begin + _ROWS, None]
            some = F.pad(some, (0, 0, 0, _ROWS - len(some)))
            scores = some @ weight.T
            p = torch.softmax(scores, -1, dtype=torch.float32)
            total += _surprise(scores[:len(at)], p[:len(at)], at, smoothing)
            if learning:
                # What is not wanted of the rows that fill up meets rows of zeros, and is cut off.
                p[:len(at)].scatter_add_(1, at, p.new_full(at.shape, smoothing - 1))
                g = (p.sub_(smoothing / len(weight)) if smoothing else p).to(used)
                dh[begin:begin + len(at)] = (g @ weight)[:len(at)]
                de += g.T @ some
        ctx.save_for_backward(dh, de)
        return total / len(h)

    @staticmethod
    def backward(ctx: Any, g: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        dh, de = ctx.saved_tensors
        share = g / len(dh)
        return dh * share, de * share, None, None, None, None


def _surprise(scores: torch.Tensor, p: torch.Tensor, at: torch.Tensor, smoothing: float) -> torch.Tensor:
    """Sum over the rows. The mean of −log p over all pieces is −log p of one of them and how far its score is above the mean score."""
    found = -p.gather(1, at).clamp(min=torch.finfo(p.dtype).tiny).log().sum()
    return found + smoothing * (scores.gather(1, at).float().sum() - scores.mean(1, dtype=torch.float32).sum()) if smoothing else found
