"""Dropout on what a layer adds, with cheap chance: on a CPU PyTorch draws a number per element, one by one.

786,000 bfloat16 numbers, there and back on one thread of an EPYC: 2.6 ms instead of 6.6, of which the sum alone takes 0.5.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch.nn import functional as F

_INTEGERS = {2: torch.int16, 4: torch.int32}


def added(h: torch.Tensor, x: torch.Tensor, share: float) -> torch.Tensor:
    """h + x of the same shape, of which `share` (0–1; on a CPU in steps of 1/256) of the elements are left out and the others made up for it.
    Which ones they are follows from torch's seed."""
    left_out = round(share * 256)
    if x.device.type != "cpu" or x.element_size() not in _INTEGERS:
        return h + F.dropout(x, share, share > 0)
    return _Added.apply(h, x, left_out) if left_out else h + x


class _Added(torch.autograd.Function):
    """The bits of each element and a mask of ones or zeros: a comparison, a cast and a product take ten times as long in bfloat16."""

    @staticmethod
    def forward(ctx: Any, h: torch.Tensor, x: torch.Tensor, left_out: int) -> torch.Tensor:
        chance = np.random.Generator(np.random.SFC64(int(torch.randint(1 << 62, ()))))
        kept = np.frombuffer(chance.bytes(x.numel()), np.uint8) >= left_out
        ctx.kept = torch.from_numpy(kept).view(x.shape).to(_INTEGERS[x.element_size()]).neg_()
        ctx.scale = 256 / (256 - left_out)
        return torch.add(h, _masked(x, ctx.kept), alpha=ctx.scale)

    @staticmethod
    def backward(ctx: Any, g: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, None]:
        dtype = torch.bfloat16 if ctx.kept.dtype == torch.int16 else torch.float32
        return g, _masked((g * ctx.scale).to(dtype), ctx.kept), None


def _masked(x: torch.Tensor, kept: torch.Tensor) -> torch.Tensor:
    return (x.contiguous().view(kept.dtype) & kept).view(x.dtype)
