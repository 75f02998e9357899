"""Where decoders are trained and asked, and in which numbers."""

from __future__ import annotations

from functools import cache

import torch

from .sequences import Batch


def device() -> str:
    """'cuda' where torch sees one, else 'cpu'."""
    return "cuda" if torch.cuda.is_available() else "cpu"


@cache
def halves() -> bool:
    """Whether products are computed in bfloat16: weights and sums stay in float32. 1.85 times faster on a CPU that has the instructions
    (6.6M parameters, 4,080 tokens a step, 0.96 s instead of 1.78), slower on one that has not."""
    if device() == "cuda":
        return bool(torch.cuda.is_bf16_supported())
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())


def moved(batch: Batch) -> Batch:
    """The batch where the model is."""
    to = device()
    if to == "cpu":
        return batch
    segments = None if batch.segments is None else batch.segments.to(to)
    return Batch(batch.ids.to(to), segments, batch.at.to(to), batch.next.to(to), batch.tokens, batch.numbers)
