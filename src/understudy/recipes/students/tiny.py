"""The small transformer: started from the teacher, first taught what the teacher pools, then what it answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from time import monotonic

import numpy as np
import torch
from torch import nn

from ...models.bert import Classifier, parameters_of
from ...models.teachers import batches, padded
from ...models.tiny import TinyConfig, fitted, start_tiny
from ...shrink.export import ExportConfig, export, hub_files
from ...teach.linear import LinearConfig, fit_linear
from ...teach.loop import LoopConfig, train
from ...teach.losses import cosine, soft_cross_entropy
from ..ground import Ground
from ..student import Student
from ..vocabulary import Pieces, pieces_of

_POOL = LoopConfig(epochs=4, rate=1.5e-3, head_rate=1.5e-3, batch=64)
_ANSWER = LoopConfig(epochs=6, rate=1e-3, head_rate=3e-3, batch=64)
_FAST = 12_000
"""Rows beyond which the epochs are cut in proportion, so that a large file costs about as much as this many."""


def build(ground: Ground, room: int | None) -> Student | None:
    """Trains the small transformer; None without a teacher of the BERT family, or where it does not fit `room` bytes."""
    pieces = pieces_of(ground)
    if pieces is None:
        return None
    assert ground.encoder is not None, "pieces_of gave pieces, so there is an encoder"
    started, config = monotonic(), fitted(TinyConfig(), ground.encoder.shape)
    if room is not None and len(pieces.tokenizer) + config.most_parameters * 1.05 > room:
        return None
    held = np.zeros((len(ground.held), ground.classes), np.float32)
    for fold in ground.evaluated:
        model = _fit(ground, pieces, config, fold)
        mine = ground.folds[ground.held] == fold
        held[mine] = _logits(model, [pieces.ids[row] for row in ground.held[mine]])
    model = _fit(ground, pieces, config, None)
    probe = [_cut(pieces.ids[row], config.positions) for row in ground.held[:200]]
    exported = export(model, probe, ExportConfig())
    return Student(
        name="tiny", kind="encoder", held_logits=held,
        files=hub_files(model, ground.labels, pieces.tokenizer, config.positions, exported),
        float_logits=lambda texts: _logits(model, pieces.encode(texts, specials=True)), parameters=parameters_of(model),
        precision="int8", seconds=monotonic() - started, cost=0.3, max_tokens=config.positions,
        notes=(f"{parameters_of(model):,} parameters, {len(pieces.keep):,} pieces, int8 within {exported.int8_difference:.2g} of torch",),
        measured={"onnx_difference": exported.difference, "int8_difference": exported.int8_difference, "int8_agreement": exported.agreement})


def _cut(ids: Sequence[int], longest: int) -> list[int]:
    return list(ids) if len(ids) <= longest else [*ids[: longest - 1], ids[-1]]


def _run(model: Classifier, rows: Sequence[Sequence[int]], give) -> np.ndarray:
    cut = [_cut(ids, model.shape.positions) for ids in rows]
    out: np.ndarray | None = None
    with torch.inference_mode():
        for some in batches(cut, 8192):
            said = give(*padded([cut[i] for i in some], 0)).numpy()
            if out is None:
                out = np.zeros((len(cut), said.shape[1]), np.float32)
            out[some] = said
    return out if out is not None else np.zeros((0, model.head.out_features), np.float32)


def _logits(model: Classifier, rows: Sequence[Sequence[int]]) -> np.ndarray:
    return _run(model, rows, model)


def _scaled(loop: LoopConfig, count: int, ground: Ground, share: float) -> LoopConfig:
    """The loop for `count` rows; with a time budget it may take its share of the time that one model has."""
    return replace(loop, epochs=max(1.0, loop.epochs * min(1.0, _FAST / count)), seconds=ground.seconds_for(share))


def _fit(ground: Ground, pieces: Pieces, config: TinyConfig, fold: int | None) -> Classifier:
    torch.manual_seed(ground.seed)
    assert ground.encoder is not None, "pieces_of gave pieces, so there is an encoder"
    model = start_tiny(ground.encoder, pieces.keep, pieces.counts, ground.classes, config)
    rows, soft = pieces.rows_for(fold), torch.from_numpy(ground.targets(fold))
    ids = [_cut(pieces.ids[row], config.positions) for row in rows]
    lengths = np.array([len(one) for one in ids])
    _teach_pooling(ground, model, rows, ids, lengths)
    head = fit_linear(_run(model, ids, lambda tokens, mask: model.pooled(model.states(tokens, mask, len(model.layers)), mask)),
                      soft.numpy(), LinearConfig(l2=1 / (10.0 * len(rows)), iterations=60), ground.stop)
    with torch.no_grad():
        model.head.weight.copy_(torch.from_numpy(head.weight.T))
        model.head.bias.copy_(torch.from_numpy(head.bias))
    train(model, list(model.head.parameters()), lambda some: soft_cross_entropy.loss(model(*padded([ids[i] for i in some], 0)), soft[some]),
          lengths, _scaled(_ANSWER, len(rows), ground, 0.5), ground.seed, ground.stop,
          lambda share, loss: ground.say("tiny", f"learning the answers, loss {loss:.2f}", share))
    return model


def _teach_pooling(ground: Ground, model: Classifier, rows: np.ndarray, ids: list[list[int]], lengths: np.ndarray) -> None:
    """First stage: point where the teacher points."""
    vectors = ground.vectors if ground.extra_vectors is None else np.concatenate([ground.vectors, ground.extra_vectors])
    wanted = torch.from_numpy(vectors[rows])
    wanted = wanted - wanted.mean(0)
    turn = nn.Linear(model.shape.width, wanted.shape[1])
    both = nn.ModuleList([model, turn])

    def loss(some: np.ndarray) -> torch.Tensor:
        tokens, mask = padded([ids[i] for i in some], 0)
        return cosine.loss(turn(model.pooled(model.states(tokens, mask, len(model.layers)), mask)), wanted[some])

    model.head.requires_grad_(False)
    train(both, list(turn.parameters()), loss, lengths, _scaled(_POOL, len(rows), ground, 0.35), ground.seed, ground.stop,
          lambda share, value: ground.say("tiny", f"learning what the teacher sees, distance {value:.2f}", share))
    model.head.requires_grad_(True)
