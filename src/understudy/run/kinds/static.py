"""The static rung: one int8 vector per token, averaged, times a small matrix. No attention, no order, in numpy."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ...bundle import Bundle, Rung
from ...errors import BundleError
from ..tokens import open_tokenizer


class StaticModel:
    """Answers from `embeddings` (V, d) int8 with a `scale` (V,) each, and a head `weight` (d, k), `bias` (k,)."""

    def __init__(self, tokenizer, tensors: dict[str, np.ndarray], longest: int) -> None:
        self._tokenizer = tokenizer
        self._embeddings, self._scale = tensors["embeddings"], tensors["scale"]
        self._weight, self._bias = tensors["weight"], tensors["bias"]
        self._longest = longest

    def logits(self, texts: Sequence[str]) -> np.ndarray:
        """Raw logits, shape (len(texts), k), float32."""
        out = np.empty((len(texts), len(self._bias)), np.float32)
        for index, text in enumerate(texts):
            ids = self._tokenizer.ids(text)[: self._longest]
            if ids:
                mean = (self._scale[ids] @ self._embeddings[ids].astype(np.float32)) / len(ids)
                out[index] = mean @ self._weight + self._bias
            else:
                out[index] = self._bias
        return out


def open_rung(bundle: Bundle, rung: Rung, threads: int) -> StaticModel:
    """Opens the rung's tokenizer.json and model.safetensors. Raises BundleError for tensors that do not fit together."""
    from safetensors.numpy import load

    tensors = load(bundle.read(f"{rung.path}/model.safetensors"))
    tokenizer = open_tokenizer(bundle.read(f"{rung.path}/tokenizer.json"), f"{rung.path}/tokenizer.json")
    try:
        rows, width = tensors["embeddings"].shape
        fits = (tensors["embeddings"].dtype == np.int8 and tensors["scale"].shape == (rows,)
                and tensors["weight"].shape == (width, len(bundle.manifest.labels))
                and tensors["bias"].shape == (len(bundle.manifest.labels),) and tokenizer.size <= rows)
    except (KeyError, ValueError):
        fits = False
    if not fits:
        raise BundleError(f"{rung.path}/model.safetensors: the tensors do not fit the tokenizer or the {len(bundle.manifest.labels)} labels")
    return StaticModel(tokenizer, tensors, rung.max_tokens or 512)
