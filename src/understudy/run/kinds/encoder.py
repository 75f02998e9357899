"""The encoder rung: a transformer in ONNX Runtime, one text at a time.

One at a time, because int8 activations are scaled over the whole batch: with neighbours a text would get slightly other
logits than alone. Many texts go to several single-threaded runs side by side instead.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from ...bundle import Bundle, Rung
from ...errors import BundleError
from ..tokens import TextTokenizer, open_tokenizer

EMBEDDING = "sentence_embedding"
"""The output with a text's vector; bundles of before it was added have none."""


class EncoderModel:
    """Answers from an ONNX session with inputs input_ids, attention_mask and the outputs logits and, where it has one, sentence_embedding."""

    def __init__(self, tokenizer: TextTokenizer, session, longest: int, classes: int, threads: int) -> None:
        self._tokenizer, self._session = tokenizer, session
        self._longest, self._classes, self._threads = longest, classes, threads
        self._masks: dict[int, np.ndarray] = {}

    def _one(self, ids: list[int], output: str = "logits") -> np.ndarray:
        if len(ids) > self._longest:
            ids = [*ids[: self._longest - 1], ids[-1]]
        array = np.array([ids], np.int64)
        mask = self._masks.get(len(ids))
        if mask is None:
            mask = self._masks[len(ids)] = np.ones_like(array)
        return self._session.run([output], {"input_ids": array, "attention_mask": mask})[0][0]

    def logits(self, texts: Sequence[str]) -> np.ndarray:
        """Raw logits, shape (len(texts), k), float32; a text's logits do not depend on its neighbours."""
        if len(texts) == 1:
            return self._one(self._tokenizer.ids(texts[0], specials=True))[None]
        out = np.empty((len(texts), self._classes), np.float32)
        batch = self._tokenizer.batch(texts, specials=True)
        if self._threads == 1:
            for index, ids in enumerate(batch):
                out[index] = self._one(ids)
        else:
            with ThreadPoolExecutor(self._threads) as pool:
                for index, row in enumerate(pool.map(self._one, batch)):
                    out[index] = row
        return out

    def embed(self, texts: Sequence[str]) -> np.ndarray | None:
        """Vectors of texts, (len(texts), width) float32; None where the model has no such output."""
        if EMBEDDING not in {one.name for one in self._session.get_outputs()}:
            return None
        return np.stack([self._one(ids, EMBEDDING) for ids in self._tokenizer.batch(texts, specials=True)])

    def count(self, texts: Sequence[str]) -> int:
        """Tokens that are read of texts."""
        return sum(min(len(ids), self._longest) for ids in self._tokenizer.batch(texts, specials=True))


def open_rung(bundle: Bundle, rung: Rung, threads: int) -> EncoderModel:
    """Opens tokenizer.json and onnx/model_quantized.onnx. Raises BundleError when either does not fit."""
    tokenizer = open_tokenizer(bundle.read(f"{rung.path}/tokenizer.json"), f"{rung.path}/tokenizer.json")
    name = f"{rung.path}/onnx/model_quantized.onnx"
    session = open_session(bundle.read(name), name)
    inputs = {one.name for one in session.get_inputs()}
    outputs = {one.name: one.shape for one in session.get_outputs()}
    classes = len(bundle.manifest.labels)
    if inputs != {"input_ids", "attention_mask"} or outputs.get("logits", [None])[-1] != classes:
        raise BundleError(f"{name} has the inputs {sorted(inputs)} and outputs {outputs}; it needs input_ids, attention_mask "
                          f"and logits over {classes} labels")
    return EncoderModel(tokenizer, session, rung.max_tokens or 128, classes, threads)


def open_session(model: bytes, where: str):
    """An ONNX Runtime session on one CPU thread. Raises BundleError when the bytes are no model it can run."""
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.log_severity_level = 4
    # Idle worker threads would burn a core between requests.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        session = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    except Exception as problem:
        raise BundleError(f"{where} cannot be run by ONNX Runtime {ort.__version__}: {str(problem).splitlines()[0]}") from None
    # It keeps the whole file for a second try with other providers; there are none.
    session.disable_fallback()
    session._model_bytes = b""
    return session
