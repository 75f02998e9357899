"""What a decoder learns from a teacher's probabilities: where they come from, which loss compares them, and how much they count."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module

import torch

from .distributions import Signal
from .kept import Kept
from .live import Live


@dataclass(frozen=True)
class Distil:
    """`share` 0–1 of the loss is the divergence `loss` from what `teacher` says, the rest is that of the text itself. `key` changes
    whenever the student would learn something else."""

    teacher: Live | Kept
    loss: Callable[[torch.Tensor, Signal], torch.Tensor]
    share: float
    key: str


def find_loss(name: str) -> Callable[[torch.Tensor, Signal], torch.Tensor]:
    """The loss in `losses/` that is called so, dashes for underscores; it takes logits (n, pieces or more) and a signal of n rows."""
    return import_module(f".losses.{name.replace('-', '_')}", __package__).loss
