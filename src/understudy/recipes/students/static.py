"""The static student: trimmed vocabulary, teacher vectors per token, a few epochs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from time import monotonic

import numpy as np
import torch

from ...models.static import Static, principal, runtime_tensors
from ...teach.linear import LinearConfig, fit_linear
from ...teach.loop import LoopConfig, train
from ...teach.losses import soft_cross_entropy
from ..ground import Ground
from ..student import Student
from ..vocabulary import Pieces, pieces_of

_LOOP = LoopConfig(epochs=6, rate=3e-2, head_rate=1e-2, batch=64, decay=1e-4)
_LONGEST, _WIDTH = 512, 128


def build(ground: Ground, room: int | None) -> Student | None:
    """Trains the static rung; None without a teacher whose vocabulary can be trimmed, or where it does not fit `room` bytes."""
    pieces = pieces_of(ground)
    if pieces is None:
        return None
    assert ground.encoder is not None, "pieces_of gave pieces, so there is an encoder"
    started = monotonic()
    width = min(_WIDTH, ground.encoder.shape.width)
    if room is not None:
        width = min(width, (room - len(pieces.tokenizer) - 4 * ground.classes) // (len(pieces.keep) + 4 * ground.classes + 4))
    if width < 16:
        return None
    ground.say("static", "asking the teacher about each token")
    vectors = principal(_token_vectors(ground, pieces), pieces.counts, int(width))
    held = np.zeros((len(ground.held), ground.classes), np.float32)
    for fold in ground.evaluated:
        model = _fit(ground, pieces, vectors, fold)
        mine = ground.folds[ground.held] == fold
        held[mine] = _logits(model, [pieces.content(row) for row in ground.held[mine]])
    model = _fit(ground, pieces, vectors, None)
    from safetensors.numpy import save

    return Student(
        name="static", kind="static", files={"tokenizer.json": pieces.tokenizer, "model.safetensors": save(runtime_tensors(model))},
        held_logits=held, float_logits=lambda texts: _logits(model, pieces.encode(texts, specials=False)),
        parameters=sum(p.numel() for p in model.parameters()), precision="int8", seconds=monotonic() - started, cost=0.06,
        max_tokens=_LONGEST, notes=(f"{len(pieces.keep):,} pieces × {width}",))


def _token_vectors(ground: Ground, pieces: Pieces) -> np.ndarray:
    """What the teacher's encoder says of each kept piece alone between its special tokens, (V, width)."""
    encoder, out = ground.encoder, []
    assert encoder is not None, "pieces_of gave pieces, so there is an encoder"
    with torch.inference_mode():
        for start in range(0, len(pieces.keep), 512):
            ids = torch.from_numpy(pieces.keep[start:start + 512])
            tokens = torch.stack([torch.full_like(ids, pieces.cls), ids, torch.full_like(ids, pieces.sep)], 1)
            mask = torch.ones_like(tokens, dtype=torch.bool)
            out.append(encoder.pooled(encoder.states(tokens, mask, len(encoder.layers)), mask).numpy())
    return np.concatenate(out)


def _flat(rows: Sequence[Sequence[int]]) -> tuple[torch.Tensor, torch.Tensor]:
    cut = [list(ids[:_LONGEST]) for ids in rows]
    lengths = [len(ids) for ids in cut]
    return (torch.tensor([i for ids in cut for i in ids], dtype=torch.int64),
            torch.from_numpy(np.concatenate([[0], np.cumsum(lengths)[:-1]]).astype(np.int64)))


def _logits(model: Static, rows: Sequence[Sequence[int]]) -> np.ndarray:
    with torch.inference_mode():
        return model(*_flat(rows)).numpy()


def _fit(ground: Ground, pieces: Pieces, vectors: np.ndarray, fold: int | None) -> Static:
    rows, soft = pieces.rows_for(fold), ground.targets(fold)
    contents = [pieces.content(row) for row in rows]
    torch.manual_seed(ground.seed)
    model = Static(vectors, ground.classes)
    with torch.no_grad():
        # A fitted head first: a random one would spoil the teacher's vectors in the first steps.
        pooled = np.stack([vectors[ids[:_LONGEST]].mean(0) if len(ids) else np.zeros(vectors.shape[1], np.float32) for ids in contents])
        head = fit_linear(pooled, soft, LinearConfig(l2=1 / (10.0 * len(rows)), iterations=40), ground.stop)
        model.head.weight.copy_(torch.from_numpy(head.weight.T))
        model.head.bias.copy_(torch.from_numpy(head.bias))
    target = torch.from_numpy(soft)
    loop = replace(_LOOP, seconds=ground.seconds_for(0.8))
    train(model, list(model.head.parameters()), lambda some: soft_cross_entropy.loss(model(*_flat([contents[i] for i in some])), target[some]),
          np.array([len(ids) for ids in contents]), loop, ground.seed, ground.stop,
          lambda share, loss: ground.say("static", f"training, loss {loss:.2f}", share))
    return model
