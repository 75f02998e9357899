"""What a teacher says about the next token, from a live model or from a cache: of every piece, or of the likeliest and the rest.

Both lay the student's logits beside the same outcomes, so that a loss never asks where the teacher's word came from. Columns
beyond the tokenizer's pieces (padding that some models have) count in neither.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

FLOOR = 1e-6
"""A rest of the probability below this counts as this much: float32 sums are not sharper."""


@dataclass(frozen=True)
class Dense:
    """Log-probabilities of every piece, `logp` (n, pieces) float32."""

    logp: torch.Tensor

    def against(self, logits: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """(teacher, student), each (n, pieces): log-probabilities of the pieces; the student's logits (n, pieces or more)."""
        return self.logp, torch.log_softmax(logits[:, :self.logp.shape[1]].float(), 1)

    def rows(self, begin: int, end: int) -> Dense:
        """Some of the rows."""
        return Dense(self.logp[begin:end])


@dataclass(frozen=True)
class Sparse:
    """The k likeliest pieces `ids` (n, k) int64, their log-probabilities `logp` (n, k) float32, the log-probability `rest` (n,) of all
    others together, and how many `pieces` there are."""

    ids: torch.Tensor
    logp: torch.Tensor
    rest: torch.Tensor
    pieces: int

    def against(self, logits: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """(teacher, student), each (n, k + 1): log-probabilities of the k pieces and of all the others as one outcome.

        A divergence over these is at most the one over all pieces. The student's logits are (n, pieces or more).
        """
        said = torch.log_softmax(logits[:, :self.pieces].float(), 1).gather(1, self.ids)
        rest = (1 - said.exp().sum(1, keepdim=True)).clamp_min(FLOOR).log()
        return torch.cat([self.logp, self.rest[:, None].clamp_min(math.log(FLOOR))], 1), torch.cat([said, rest], 1)

    def rows(self, begin: int, end: int) -> Sparse:
        """Some of the rows."""
        return Sparse(self.ids[begin:end], self.logp[begin:end], self.rest[begin:end], self.pieces)


Signal = Dense | Sparse


def dense(logits: torch.Tensor, pieces: int) -> Dense:
    """From a teacher's logits (n, pieces or more)."""
    return Dense(torch.log_softmax(logits[:, :pieces].float(), 1))
