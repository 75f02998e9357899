"""The extract rung: every sentence of a document scored, the best within a length chosen, in their order. No word is made up.

    document ──► features, cue words ──► linear score ──────────────┐
             └─► encoder, one sentence at a time ──► linear score ──┴──► sum ──► select

The files: extract.json (settings), model.safetensors (mean, scale, weight, cues, cue_scale; with an encoder also vector_weight,
product_weight), and with an encoder a Hugging Face folder whose `logits` are the sentence's vector.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from ...bundle import Bundle, Rung
from ...errors import BundleError, UsageError
from ...tasks.summarise import Budget, Chosen, Summary, joined, select
from ..salience import BUCKETS, NAMES, Document, cues, features, read_document, refers_back, sketches

_ENCODED = 400
"""Sentences of a document that the encoder reads at most: those that the cheap score puts first."""


@dataclass(frozen=True)
class ExtractConfig:
    """Settings in extract.json. `sentences` is the usual length of a summary; `mix` weighs the encoder's score against the cheap one."""

    sentences: int = 3
    redundancy: float = 0.3
    mix: float = 0.0
    width: int = 0
    """Numbers in a sentence's vector; 0 without an encoder."""
    longest: int = 128
    features: tuple[str, ...] = NAMES

    def to_json(self) -> bytes:
        return (json.dumps(asdict(self), indent=1, sort_keys=True) + "\n").encode()


def config_from(data: bytes, where: str) -> ExtractConfig:
    """The settings in extract.json. Raises BundleError for a field that does not belong or fit."""
    try:
        told: Any = json.loads(data)
        config = ExtractConfig(**{**told, "features": tuple(told["features"])})
        numbers = (config.sentences, config.width, config.longest)
        if not all(isinstance(one, int) and not isinstance(one, bool) for one in numbers):
            raise ValueError("a setting is no whole number")
        if not (1 <= config.sentences <= 1000 and 0 <= config.width <= 4096 and 3 <= config.longest <= 8192
                and 0 <= config.redundancy <= 1 and abs(config.mix) < 1e6):
            raise ValueError("a setting is out of range")
    except (ValueError, TypeError, KeyError) as problem:
        raise BundleError(f"{where} does not describe an extract rung: {problem}") from None
    if config.features != NAMES:
        raise BundleError(f"{where} was made for other features than this version measures",
                          hint="pip install --upgrade understudy, or train it again")
    return config


class ExtractModel:
    """Summarises by choosing. `encode(texts)` gives sentence vectors (n, width), or is None."""

    def __init__(self, config: ExtractConfig, tensors: dict[str, np.ndarray], encode: Callable[[list[str]], np.ndarray] | None) -> None:
        self.config = config
        self._tensors = tensors
        self._cues = tensors["cues"].astype(np.float32) * np.float32(tensors["cue_scale"][0])
        self._encode = encode

    def cheap_scores(self, document: Document) -> np.ndarray:
        """The score without the encoder, (n,)."""
        part = self._tensors
        out = ((features(document) - part["mean"]) / part["scale"]) @ part["weight"]
        for row, piece in enumerate(document.pieces):
            found = cues(piece)
            out[row] += self._cues[found].sum() / np.sqrt(max(1, len(found)))
        return out

    def scores(self, document: Document) -> np.ndarray:
        """The score of every sentence of a document, (n,) float32, higher is better; comparable within one document."""
        cheap = self.cheap_scores(document)
        if self._encode is None or not len(cheap):
            return cheap
        rows = np.sort(np.argsort(-cheap, kind="stable")[:_ENCODED])
        vectors = self._encode([document.pieces[row].text for row in rows])
        said = np.zeros(len(cheap), np.float32)
        said[rows] = vector_scores(vectors, self._tensors["vector_weight"], self._tensors["product_weight"])
        if len(rows) < len(cheap):
            # What was not read gets the mean of what was: no sentence wins by not being read.
            said[np.setdiff1d(np.arange(len(cheap)), rows)] = said[rows].mean()
        return cheap + np.float32(self.config.mix) * said

    def summarise(self, text: str, *, title: str | None = None, words: int | None = None, sentences: int | None = None,
                  share: float | None = None, language: str | None = None) -> Summary:
        """The summary of a document of any length within the budget (the usual number of sentences where none is given).

        Every section of a long document gets its share. Raises UsageError for a budget or a text that makes no sense.
        """
        if words is None and sentences is None and share is None:
            sentences = self.config.sentences
        budget = Budget(words, sentences, share)
        document = read_document(text, title, language)
        return summary_of(document, self.scores(document), budget, self.config.redundancy)


def vector_scores(vectors: np.ndarray, vector_weight: np.ndarray, product_weight: np.ndarray) -> np.ndarray:
    """Scores (n,) from a document's sentence vectors (n, d): each vector, and its product with their mean, times weights (d,)."""
    return vectors @ vector_weight + (vectors * vectors.mean(0)) @ product_weight


def summary_of(document: Document, scores: np.ndarray, budget: Budget, redundancy: float) -> Summary:
    """The summary that these scores give."""
    pieces = document.pieces
    lengths = [len(piece.words) for piece in pieces]
    costs, limit = budget.costs(lengths)
    rows = select(scores, costs, limit, document.groups(), sketches(document), redundancy)
    flags = [] if pieces else ["the document has no sentence to choose"]
    if rows and costs[rows].sum() > limit:
        flags.append(f"no sentence fits into {limit:.0f} words; this is the shortest")
    taken = set(rows)
    flags += [f"sentence {place} begins with {pieces[row].words[0]!r} and may point at what was left out"
              for place, row in enumerate(rows, 1) if row and row - 1 not in taken and refers_back(pieces[row])]
    chosen = tuple(Chosen(pieces[row].span.start, pieces[row].span.end, pieces[row].text, float(scores[row])) for row in rows)
    kept = sum(lengths[row] for row in rows)
    return Summary(joined([one.text for one in chosen]), chosen, kept, kept / max(1, sum(lengths)), tuple(flags))


def open_rung(bundle: Bundle, rung: Rung, threads: int) -> ExtractModel:
    """Opens the rung's files. Raises BundleError for files that do not fit together."""
    return open_files(lambda name: bundle.read(f"{rung.path}/{name}"), rung.path)


def open_files(read: Callable[[str], bytes], where: str) -> ExtractModel:
    """Opens a model from what `read(name)` gives for the names of its files. Raises BundleError for files that do not fit together."""
    from safetensors.numpy import load

    config = config_from(read("extract.json"), f"{where}/extract.json")
    try:
        tensors = load(read("model.safetensors"))
    except Exception as problem:
        raise BundleError(f"{where}/model.safetensors cannot be read: {problem}") from None
    count = len(NAMES)
    expect = {"mean": ("float32", (count,)), "scale": ("float32", (count,)), "weight": ("float32", (count,)), "cues": ("int8", (BUCKETS,)),
              "cue_scale": ("float32", (1,))}
    if config.width:
        expect |= {"vector_weight": ("float32", (config.width,)), "product_weight": ("float32", (config.width,))}
    for name, (kind, shape) in expect.items():
        if name not in tensors or tensors[name].dtype != kind or tensors[name].shape != shape:
            raise BundleError(f"{where}/model.safetensors: the tensor '{name}' is missing or is not {kind} of the shape {shape}")
        if kind == "float32" and not np.isfinite(tensors[name]).all():
            raise BundleError(f"{where}/model.safetensors: the tensor '{name}' holds numbers that are not finite")
    return ExtractModel(config, tensors, _encoder(read, where, config) if config.width else None)


def _encoder(read: Callable[[str], bytes], where: str, config: ExtractConfig) -> Callable[[list[str]], np.ndarray]:
    from ..tokens import open_tokenizer
    from .encoder import EncoderModel, open_session

    tokenizer = open_tokenizer(read("tokenizer.json"), f"{where}/tokenizer.json")
    name = "onnx/model_quantized.onnx"
    session = open_session(read(name), f"{where}/{name}")
    inputs = {one.name for one in session.get_inputs()}
    outputs = {one.name: one.shape for one in session.get_outputs()}
    if inputs != {"input_ids", "attention_mask"} or outputs.get("logits", [None])[-1] != config.width:
        raise BundleError(f"{where}/{name} has the inputs {sorted(inputs)} and outputs {outputs}; it needs input_ids, attention_mask "
                          f"and logits of {config.width} numbers")
    return EncoderModel(tokenizer, session, config.longest, config.width, 1).logits


def require_summariser(model: object, name: str) -> ExtractModel:
    """The model, where it is one that summarises. Raises UsageError naming the rung otherwise."""
    if not isinstance(model, ExtractModel):
        raise UsageError(f"the rung '{name}' does not summarise")
    return model
