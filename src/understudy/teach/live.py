"""A decoder that teaches: asked about a batch, it says how likely every piece is as the next token."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import torch

from ..models.based import Based
from .device import device, halves
from .distributions import Dense, dense
from .sequences import Batch


@dataclass(frozen=True)
class Heard:
    """What was heard about one batch: `rows(begin, end)` gives a Dense of some of its wanted tokens, so that never all scores of all
    pieces lie in memory."""

    states: torch.Tensor
    model: Based
    pieces: int

    def rows(self, begin: int, end: int) -> Dense:
        """Wanted tokens `begin` to `end` of the batch."""
        with torch.no_grad(), torch.autocast(device(), enabled=False):
            return dense(self.model.logits(self.states[begin:end]), self.pieces)


class Live:
    """A checkpoint that is asked about every batch anew, and opened by `opening` when first asked. `key` changes whenever it would say
    something else; `pieces` are the tokenizer's, which may be fewer than the rows of its embedding; `context` is the longest sequence."""

    packs = False
    """Whether rows may hold several sequences: a checkpoint's own attention cannot keep them apart."""

    def __init__(self, opening: Callable[[], Based], key: str, pieces: int, context: int) -> None:
        self._opening, self.key, self.pieces, self.context = opening, f"{key} {halves()}", pieces, context

    @cached_property
    def model(self) -> Based:
        """The teacher, where batches are."""
        return self._opening().eval().requires_grad_(False).to(device())

    def of(self, batch: Batch) -> Heard:
        """What it says about the wanted tokens of a batch, on the batch's device."""
        # Products inside may be rounded to bfloat16; the scores are computed in float32, where differences of logits matter.
        with torch.no_grad(), torch.autocast(device(), torch.bfloat16, enabled=halves()):
            states = self.model(batch.ids)
        return Heard(states.reshape(-1, states.shape[-1])[batch.at].float(), self.model, self.pieces)
