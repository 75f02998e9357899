"""The encoder itself: the teacher's body with a head, its top layers tuned on cached states of the layers below."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import replace
from time import monotonic

import numpy as np
import torch

from ...models.bert import Classifier, Wide, parameters_of
from ...models.teachers import TOP, Teacher, batches, padded
from ...proof.calibrate import fit_temperature
from ...shrink.export import ExportConfig, export, hub_files
from ...shrink.vocabulary import trim
from ...teach.loop import LoopConfig, train
from ...teach.losses import soft_cross_entropy
from ...teach.wide import WideConfig, fit_wide
from ..ground import Ground, nll
from ..student import Student

_LOOP = LoopConfig(epochs=2, rate=1e-4, head_rate=1e-3, batch=32)
_FAST = 12_000
"""Rows beyond which the epochs are cut in proportion, so that a large file is tuned for about as long as this many."""
_MOST_STATES = 1_500_000_000
"""Bytes of cached states beyond which the layers stay as they are."""


def build(ground: Ground, room: int | None) -> Student | None:
    """The encoder with a head, tuned where that helps on rows it has not seen; None without a teacher we can export."""
    teacher, encoder = ground.teacher, ground.encoder
    if teacher is None or encoder is None:
        return None
    started = monotonic()
    ids = teacher.encode(ground.texts)
    tokenizer, keep = _trimmed(teacher, ids, ground)
    if room is not None and _size(encoder, len(keep), len(tokenizer)) > room:
        return None
    lesson = ground
    if teacher.labels:
        # What a checkpoint with a head says are logits; the head of the rung reads the body below, and learns what was said.
        ground = replace(ground, vectors=_features(ground, encoder, ids))
    heads = _Heads(ground)
    frozen = heads.held
    held, tuned = frozen, False
    states = _states(ground, encoder, ids) if _affordable(ground, encoder, ids) else None
    if states is not None:
        tried = np.zeros_like(frozen)
        for fold in ground.evaluated:
            mine = ground.folds[ground.held] == fold
            model = _tune(ground, lesson, heads, encoder, states, fold)
            tried[mine] = states.logits(model, ground.held[mine])
        tuned = _loss(tried, ground) < _loss(frozen, ground)
        held = tried if tuned else frozen
    model = _tune(ground, lesson, heads, encoder, states, None) if tuned and states else heads.put_on(encoder, None)
    return _finish(ground, teacher, model, held, tokenizer, keep, tuned, started)


def _loss(logits: np.ndarray, ground: Ground) -> float:
    gold = ground.gold[ground.held]
    return nll(logits / fit_temperature(logits, gold), gold)


def _size(encoder: Classifier, pieces: int, tokenizer: int) -> int:
    layers = sum(p.numel() for p in encoder.layers.parameters())
    return int(layers * 1.05 + encoder.positions.weight.numel() * 4 + pieces * (encoder.shape.width + 4) + tokenizer)


def _trimmed(teacher: Teacher, ids: list[list[int]], ground: Ground) -> tuple[bytes, np.ndarray]:
    """The whole vocabulary without what the task's language never needs: pieces of other scripts that no text uses."""
    whole = teacher.tokenizer.backend_tokenizer.to_str()
    used = [*ids, *teacher.encode(ground.extra)]
    vocabulary = teacher.tokenizer.get_vocab()
    latin = [index for piece, index in vocabulary.items() if piece.isascii()]
    return trim(whole, [*used, latin])


class _States:
    """Hidden states below the tuned layers, (sum of lengths, width) float16, and how rows find theirs."""

    def __init__(self, flat: np.ndarray, lengths: np.ndarray, first: int) -> None:
        self.flat, self.lengths, self.first = flat, lengths, first
        self.starts = np.concatenate([[0], np.cumsum(lengths)])

    def batch(self, rows: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
        longest = int(self.lengths[rows].max())
        h = np.zeros((len(rows), longest, self.flat.shape[1]), np.float32)
        mask = np.zeros((len(rows), longest), bool)
        for place, row in enumerate(rows):
            length = self.lengths[row]
            h[place, :length] = self.flat[self.starts[row]:self.starts[row] + length]
            mask[place, :length] = True
        return torch.from_numpy(h), torch.from_numpy(mask)

    def forward(self, model: Classifier, rows: np.ndarray) -> torch.Tensor:
        h, mask = self.batch(rows)
        return model.classify(model.features(h, mask, self.first))

    def logits(self, model: Classifier, rows: np.ndarray) -> np.ndarray:
        out = np.zeros((len(rows), model.head.out_features), np.float32)
        order = np.argsort(self.lengths[rows], kind="stable")
        with torch.inference_mode():
            for start in range(0, len(rows), 128):
                some = order[start:start + 128]
                out[some] = self.forward(model, rows[some]).numpy()
        return out


def _features(ground: Ground, encoder: Classifier, ids: list[list[int]]) -> np.ndarray:
    """What a head on the encoder would see of each text, (n, inputs of the head) float32."""
    out, done = np.zeros((len(ids), encoder.head.in_features), np.float32), 0
    with torch.inference_mode():
        for rows in batches(ids, 4096):
            if ground.stop():
                break  # the student is left out then
            tokens, mask = padded([ids[row] for row in rows], 0)
            out[rows] = encoder.features(encoder.states(tokens, mask, 0), mask, 0).numpy()
            done += len(rows)
            ground.say("encoder", "reading the texts", done / len(ids))
    return out


def _affordable(ground: Ground, encoder: Classifier, ids: list[list[int]]) -> bool:
    tokens = sum(len(one) for one in ids)
    work = tokens * (_epochs(len(ids)) * (len(ground.evaluated) + 1) + 1.5) * parameters_of(encoder.layers) * 2.1e-11
    ground.say("encoder", f"tuning the top {TOP} layers would take about {work:.0f} s")
    return tokens * encoder.shape.width * 2 <= _MOST_STATES and (ground.seconds is None or work <= ground.seconds)


def _epochs(rows: int) -> float:
    return _LOOP.epochs * min(1.0, _FAST / rows)


def _states(ground: Ground, encoder: Classifier, ids: list[list[int]]) -> _States | None:
    first = len(encoder.layers) - TOP
    if first < 1:
        return None
    lengths = np.array([len(one) for one in ids])
    starts = np.concatenate([[0], np.cumsum(lengths)])
    flat = np.zeros((starts[-1], encoder.shape.width), np.float16)
    done = 0
    with torch.inference_mode():
        for rows in batches(ids, 4096):
            if ground.stop():
                return None
            tokens, mask = padded([ids[row] for row in rows], 0)
            said = encoder.states(tokens, mask, first).half().numpy()
            for place, row in enumerate(rows):
                flat[starts[row]:starts[row + 1]] = said[place, : lengths[row]]
            done += len(rows)
            ground.say("encoder", "running the lower layers once", done / len(ids))
    return _States(flat, lengths, first)


class _Heads:
    """The linear head and a hidden layer beside it, each fitted without a fold, added as log-probabilities are averaged."""

    def __init__(self, ground: Ground) -> None:
        self.ground = ground
        self.wides: dict[int | None, Wide] = {}
        linear, wide = ground.teacher_held_logits(), np.zeros((len(ground.held), ground.classes), np.float32)
        for fold in ground.evaluated:
            mine = ground.folds[ground.held] == fold
            fitted = self._wide(fold)
            with torch.inference_mode():
                wide[mine] = fitted(torch.from_numpy(ground.vectors[ground.held[mine]])).numpy()
        gold = ground.gold[ground.held]
        self.scales = [0.5 / fit_temperature(one, gold) for one in (linear, wide)]
        both = linear * self.scales[0] + wide * self.scales[1]
        self.useful = _loss(both, ground) < _loss(linear, ground)
        self.held = both.astype(np.float32) if self.useful else linear

    def _wide(self, fold: int | None) -> Wide:
        if fold not in self.wides:
            self.ground.say("encoder", "fitting a head with a hidden layer")
            rows = self.ground.rows_without(fold)
            self.wides[fold] = fit_wide(self.ground.vectors[rows], self.ground.onehot(rows), WideConfig(), self.ground.seed, self.ground.stop)
        return self.wides[fold]

    def put_on(self, encoder: Classifier, fold: int | None) -> Classifier:
        """A copy of the encoder with the heads that never saw `fold`."""
        model = copy.deepcopy(encoder)
        linear = self.ground.teacher_head(frozenset() if fold is None else frozenset({fold}))
        model.head = torch.nn.Linear(encoder.head.in_features, self.ground.classes)
        model.wide = copy.deepcopy(self._wide(fold)) if self.useful else None
        with torch.no_grad():
            model.head.weight.copy_(torch.from_numpy(linear.weight.T))
            model.head.bias.copy_(torch.from_numpy(linear.bias))
            if model.wide is not None:
                for module, scale in ((model.head, self.scales[0]), (model.wide.down, self.scales[1])):
                    module.weight.mul_(scale)
                    module.bias.mul_(scale)
        return model.eval()


def _tune(ground: Ground, lesson: Ground, heads: _Heads, encoder: Classifier, states: _States, fold: int | None) -> Classifier:
    model = heads.put_on(encoder, fold)
    top = [*model.head.parameters(), *(model.wide.parameters() if model.wide is not None else ())]
    model.requires_grad_(False)
    for parameter in [*model.layers[states.first:].parameters(), *top]:
        parameter.requires_grad_(True)
    rows = ground.rows_without(fold)
    soft = torch.from_numpy(lesson.targets(fold)[: len(rows)])
    train(model, top, lambda some: soft_cross_entropy.loss(states.forward(model, rows[some]), soft[some]),
          states.lengths[rows], replace(_LOOP, epochs=_epochs(len(rows))), ground.seed, ground.stop,
          lambda share, loss: ground.say("encoder", f"tuning the top layers, loss {loss:.2f}", share))
    return model


def _finish(ground: Ground, teacher: Teacher, model: Classifier, held: np.ndarray, tokenizer: bytes, keep: np.ndarray, tuned: bool,
            started: float) -> Student:
    longest = teacher.longest
    with torch.no_grad():
        small = copy.deepcopy(model)
        small.tokens = torch.nn.Embedding.from_pretrained(model.tokens.weight[torch.from_numpy(keep)])
        small.positions = torch.nn.Embedding.from_pretrained(model.positions.weight[:longest])
    small.shape = type(small.shape)(**{**small.shape.__dict__, "vocabulary": len(keep), "positions": longest})
    new_id = np.full(int(keep.max()) + 1, -1)
    new_id[keep] = np.arange(len(keep))
    probe = [new_id[teacher.encode([ground.texts[row]])[0]].tolist() for row in ground.held[:128]]
    ground.say("encoder", "exporting and comparing")
    exported = export(small, probe, ExportConfig())
    precision = "int8" if not exported.restored else "mixed"

    def float_logits(texts: Sequence[str]) -> np.ndarray:
        ids = teacher.encode(texts)
        out = np.zeros((len(ids), ground.classes), np.float32)
        with torch.inference_mode():
            for rows in batches(ids, 4096):
                out[rows] = model(*padded([ids[row] for row in rows], 0)).numpy()
        return out

    return Student(
        name="encoder", kind="encoder", held_logits=held,
        files=hub_files(small, ground.labels, tokenizer, longest, exported),
        float_logits=float_logits, parameters=parameters_of(small), precision=precision, seconds=monotonic() - started,
        cost=parameters_of(small.layers) / 3.2e6, max_tokens=longest,
        notes=(f"{'top ' + str(TOP) + ' layers tuned' if tuned else 'layers as they came: tuning did not help on unseen rows'}, "
               f"{len(exported.restored)} layers in float, int8 agrees on {exported.agreement:.1%}",),
        measured={"onnx_difference": exported.difference, "int8_difference": exported.int8_difference, "int8_agreement": exported.agreement})
