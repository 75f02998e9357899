"""The encoder of an extractive summariser: the teacher's lower layers, frozen, whose sentence vectors get a linear score of their own.

The lower layers, because what makes a sentence worth quoting shows there better than in the top ones, which were trained to tell topics
apart; they are smaller and faster too. Kept only where it helps on documents it has not seen.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import torch

from ...errors import ParityError, TeacherError
from ...models.bert import Classifier, parameters_of
from ...models.teachers import Teacher, batches, padded
from ...run.kinds.extract import vector_scores
from ...shrink.export import ExportConfig, export, hub_files, onnx_logits
from ...shrink.vocabulary import trim
from ...teach.listwise import Listwise, ListwiseConfig, fit_listwise
from ...teach.signals import ask

if TYPE_CHECKING:
    from .extractive_training import Training

_PENALTIES = (3e-3, 1e-2, 3e-2)
_MIXES = (0.5, 1.0, 2.0)
_ZOOM = 10.0
"""The vectors have length 1; so scaled, they stand beside features of spread 1 under one penalty."""
_LEAST_COSINE = 0.95
"""Mean cosine between int8 and float vectors below which the export is refused."""


@dataclass(frozen=True)
class Reading:
    """An encoder that helps: its `files`, the `tensors` of its score, how much that weighs (`mix`) and the sum of both scores,
    out of fold (`said`)."""

    files: dict[str, bytes]
    tensors: dict[str, np.ndarray]
    width: int
    longest: int
    mix: float
    said: np.ndarray
    parameters: int


@dataclass(frozen=True)
class Body:
    """The part of a teacher that reads sentences: vectors of length 1, cached by `ask` under `key`."""

    teacher: Teacher
    model: Classifier

    @property
    def key(self) -> str:
        return f"{self.teacher.key}:{len(self.model.layers)} layers:{self.teacher.longest}"

    def vectors(self, texts: Sequence[str], progress: Callable[[int], None] = lambda done: None) -> np.ndarray:
        """(n, width) float32."""
        ids = self.teacher.encode(texts)
        out = np.zeros((len(texts), self.model.shape.width), np.float32)
        with torch.inference_mode():
            for rows in batches(ids, 4096):
                tokens, mask = padded([ids[row] for row in rows], self.teacher.tokenizer.pad_token_id or 0)
                out[rows] = self.model.features(self.model.states(tokens, mask, 0), mask, 0).numpy()
                progress(len(rows))
        return out


def body_of(teacher: Teacher) -> Body:
    """The lower layers of a teacher of the BERT family. Raises TeacherError for another one."""
    encoder = teacher.encoder
    if encoder is None:
        raise TeacherError(f"the teacher {teacher.name} cannot become part of a summariser: it is not of the BERT family",
                           hint="name a BERT or DistilBERT encoder, or train without one")
    depth = encoder.shape.tap or len(encoder.layers)
    model = copy.deepcopy(encoder)
    model.layers = model.layers[:depth]
    model.shape = replace(encoder.shape, layers=depth, tap=0, normalise=True)
    width = model.shape.width
    model.head = torch.nn.Linear(width, width)
    with torch.no_grad():
        model.head.weight.copy_(torch.eye(width))
        model.head.bias.zero_()
    return Body(teacher, model.eval())


def pooled(vectors: np.ndarray, member: np.ndarray) -> np.ndarray:
    """Each sentence's vector beside its product with the mean of its document's, (n, 2·width), scaled."""
    count = np.bincount(member)
    total = np.zeros((len(count), vectors.shape[1]), np.float32)
    np.add.at(total, member, vectors)
    return _ZOOM * np.concatenate([vectors, vectors * (total / np.maximum(1, count)[:, None])[member]], 1)


def help_of(training: Training, teacher: Teacher, shares: np.ndarray, said: np.ndarray,
            best: float) -> tuple[Reading | None, dict[str, float]]:
    """The encoder's part where it raises `best` enough (None where not), and what was found. `said` is the cheap score out of fold."""
    lessons, how = training.lessons, training.how
    body = body_of(teacher)
    texts = [piece.text for document, gains in zip(lessons.documents, lessons.said, strict=True) for piece in document.pieces[:len(gains)]]
    training.say(f"reading {len(texts):,} sentences with the lower {len(body.model.layers)} layers of {teacher.name}")
    wide = pooled(ask(body, texts), lessons.member)
    tried = []
    for penalty in _PENALTIES:
        def fit(rows: np.ndarray, penalty: float = penalty) -> Callable[[np.ndarray], np.ndarray]:
            model = _fit(wide[rows], lessons.member[rows], shares[rows], penalty)
            return lambda held: model(wide[held])

        alone = training.unseen(fit)
        tried += [(training.judge(said + mix * alone), mix, penalty, said + np.float32(mix) * alone) for mix in _MIXES]
        training.say(f"encoder, penalty {penalty:g}: ROUGE-1 {max(one[0] for one in tried[-len(_MIXES):]):.2f} on unseen folds")
    found, mix, penalty, both = max(tried, key=lambda one: one[0])
    told = {"encoder_rouge1": found, "encoder_l2": penalty, "encoder_kept": float(how.encoder == "yes" or found - best >= how.least_gain)}
    if not told["encoder_kept"]:
        return None, told
    model = _fit(wide, lessons.member, shares, penalty)
    width = body.model.shape.width
    tensors = {"vector_weight": model.weight[:width] * np.float32(_ZOOM), "product_weight": model.weight[width:] * np.float32(_ZOOM)}
    files, agreement, parameters = _export(body, texts, lessons.member, tensors)
    return Reading(files, tensors, width, teacher.longest, mix, both, parameters), told | {"int8_agreement": agreement}


def _fit(wide: np.ndarray, member: np.ndarray, shares: np.ndarray, penalty: float) -> Listwise:
    _, member = np.unique(member, return_inverse=True)
    return fit_listwise(wide, None, member, shares, ListwiseConfig(l2=penalty, iterations=100))


def _export(body: Body, texts: Sequence[str], member: np.ndarray, tensors: dict[str, np.ndarray]) -> tuple[dict[str, bytes], float, int]:
    """The encoder's folder in int8 with a trimmed vocabulary, the share of documents whose best sentence int8 leaves the same, and
    how many numbers it holds. Raises ParityError where the int8 vectors point elsewhere."""
    teacher = body.teacher
    ids = teacher.encode(texts)
    latin = [index for piece, index in teacher.tokenizer.get_vocab().items() if piece.isascii()]
    tokenizer, keep = trim(teacher.tokenizer.backend_tokenizer.to_str(), [*ids, latin])
    small = copy.deepcopy(body.model)
    with torch.no_grad():
        small.tokens = torch.nn.Embedding.from_pretrained(body.model.tokens.weight[torch.from_numpy(keep)])
        small.positions = torch.nn.Embedding.from_pretrained(body.model.positions.weight[: teacher.longest])
    small.shape = replace(small.shape, vocabulary=len(keep), positions=teacher.longest)
    new_id = np.full(int(keep.max()) + 1, -1)
    new_id[keep] = np.arange(len(keep))
    few = np.flatnonzero(member < 40)[:300]
    probe = [new_id[ids[row]].tolist() for row in few]
    exported = export(small, probe, ExportConfig(agreement=0.0))
    float_vectors, packed = onnx_logits(exported.whole, probe), onnx_logits(exported.quantised, probe)
    cosine = (float_vectors * packed).sum(1) / np.maximum(1e-9, np.linalg.norm(float_vectors, axis=1) * np.linalg.norm(packed, axis=1))
    if not cosine.mean() >= _LEAST_COSINE:
        raise ParityError(f"int8 turns the sentence vectors: their mean cosine with the float ones is {cosine.mean():.3f} "
                          f"(at least {_LEAST_COSINE} is needed)")
    same = [_best(float_vectors[mine], tensors) == _best(packed[mine], tensors)
            for document in np.unique(member[few]) if (mine := np.flatnonzero(member[few] == document)).size]
    names = [f"vector_{place}" for place in range(small.shape.width)]
    return hub_files(small, names, tokenizer, teacher.longest, exported), float(np.mean(same)), parameters_of(small)


def _best(vectors: np.ndarray, tensors: dict[str, np.ndarray]) -> int:
    return int(vector_scores(vectors, tensors["vector_weight"], tensors["product_weight"]).argmax())
