"""Low-rank adapters on the linear layers of a decoder (Hu et al. 2021, arXiv 2106.09685), merged into the weights when done."""

from __future__ import annotations

import math

import torch
from torch import nn

_SKIPPED = ("lm_head", "embed_out")


class Adapter(nn.Module):
    """A frozen linear layer plus `up(down(x))·scale`; `up` starts at zero, so training starts at the layer itself."""

    def __init__(self, base: nn.Linear, rank: int, scale: float) -> None:
        super().__init__()
        self.base, self.scale = base, scale
        self.down = nn.Linear(base.in_features, rank, bias=False)
        self.up = nn.Linear(rank, base.out_features, bias=False)
        nn.init.kaiming_uniform_(self.down.weight, a=math.sqrt(5))
        nn.init.zeros_(self.up.weight)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.base(x) + self.up(self.down(x)) * self.scale

    def merged(self) -> nn.Linear:
        """The linear layer with the adapter added to its weights."""
        with torch.no_grad():
            self.base.weight += (self.up.weight @ self.down.weight * self.scale).to(self.base.weight.dtype)
        return self.base


def add_adapters(model: nn.Module, rank: int = 16, scale: float = 2.0) -> int:
    """Puts an adapter on every linear layer but the output, freezes the rest; how many there are."""
    model.requires_grad_(False)
    found = [(name, module) for name, module in model.named_modules() if isinstance(module, nn.Linear) and not name.endswith(_SKIPPED)]
    for name, module in found:
        parent, _, last = name.rpartition(".")
        setattr(model.get_submodule(parent), last, Adapter(module, min(rank, module.in_features, module.out_features), scale))
    return len(found)


def merge_adapters(model: nn.Module) -> None:
    """Every adapter becomes part of its layer."""
    for name, module in [(name, module) for name, module in model.named_modules() if isinstance(module, Adapter)]:
        parent, _, last = name.rpartition(".")
        setattr(model.get_submodule(parent), last, module.merged())
