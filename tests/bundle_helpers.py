"""Small whole bundles, and hostile ONNX built by hand: a mini protobuf encoder that writes what no library would."""

from __future__ import annotations

import json
import struct
from pathlib import Path

from understudy.bundle import Manifest, Rung, write_bundle

ONNX, TOKENIZER, CONFIG, WEIGHTS = "tiny/onnx/model.onnx", "tiny/tokenizer.json", "tiny/config.json", "ngram/model.safetensors"


def varint(number: int) -> bytes:
    out = b""
    number &= (1 << 64) - 1
    while number > 0x7F:
        out += bytes([number & 0x7F | 0x80])
        number >>= 7
    return out + bytes([number])


def number(field: int, value: int) -> bytes:
    return varint(field << 3) + varint(value)


def part(field: int, value: bytes | str) -> bytes:
    value = value.encode() if isinstance(value, str) else value
    return varint(field << 3 | 2) + varint(len(value)) + value


def tensor(name: str, dims: list[int], raw: bytes | None = None, kind: int = 1, extra: bytes = b"") -> bytes:
    return b"".join(number(1, dim) for dim in dims) + number(2, kind) + part(8, name) + (part(9, raw) if raw is not None else b"") + extra


def shape(name: str, *sizes: int) -> bytes:
    """An initialiser of int64 that holds a shape."""
    return tensor(name, [len(sizes)], struct.pack(f"<{len(sizes)}q", *sizes), 7)


def scalar(name: str, value: int) -> bytes:
    return tensor(name, [], struct.pack("<q", value), 7)


def attribute(name: str, body: bytes) -> bytes:
    return part(5, part(1, name) + body)


def node(op: str, inputs: tuple[str, ...] = (), outputs: tuple[str, ...] = ("y",), *, domain: str = "", extra: bytes = b"") -> bytes:
    return (b"".join(part(1, name) for name in inputs) + b"".join(part(2, name) for name in outputs)
            + part(4, op) + (part(7, domain) if domain else b"") + extra)


def graph(*nodes: bytes, initialisers: tuple[bytes, ...] = (), extra: bytes = b"") -> bytes:
    return b"".join(part(1, one) for one in nodes) + part(2, "g") + b"".join(part(5, one) for one in initialisers) + extra


def model(body: bytes, *, ir: int = 10, opset: int = 18, domain: str = "", extra: bytes = b"") -> bytes:
    return number(1, ir) + part(7, body) + part(8, (part(1, domain) if domain else b"") + number(2, opset)) + extra


def onnx_bytes() -> bytes:
    return model(graph(node("Add", ("x", "w")), initialisers=(tensor("w", [4], struct.pack("<4f", 1, 2, 3, 4)),)))


def tokenizer_dict() -> dict:
    return {
        "version": "1.0", "truncation": None, "padding": None,
        "added_tokens": [{"id": 0, "content": "[PAD]", "single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}],
        "normalizer": {"type": "BertNormalizer", "clean_text": True, "handle_chinese_chars": True, "strip_accents": None, "lowercase": True},
        "pre_tokenizer": {"type": "BertPreTokenizer"},
        "post_processor": {"type": "TemplateProcessing", "single": [{"SpecialToken": {"id": "[CLS]", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
                           "pair": [], "special_tokens": {"[CLS]": {"id": "[CLS]", "ids": [2], "tokens": ["[CLS]"]}}},
        "decoder": {"type": "WordPiece", "prefix": "##", "cleanup": True},
        "model": {"type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##", "max_input_chars_per_word": 100,
                  "vocab": {"[PAD]": 0, "[UNK]": 1, "[CLS]": 2, "card": 3, "##s": 4}},
    }


def safetensors_bytes(fill: float = 0.5) -> bytes:
    header = json.dumps({"weight": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}}).encode()
    return struct.pack("<Q", len(header)) + header + struct.pack("<6f", *[fill] * 6)


def bundle_files(fill: float = 0.5) -> dict[str, bytes]:
    return {
        ONNX: onnx_bytes(), TOKENIZER: json.dumps(tokenizer_dict()).encode(), CONFIG: b'{"id2label": {"0": "card", "1": "refund"}}',
        WEIGHTS: safetensors_bytes(fill), "checks.json": b'{"inputs": ["where is my card?"]}',
        "receipt.json": b'{"entries": []}', "receipt.html": b"<!doctype html><p>receipt", "README.md": b"---\nlicense: other\n---\n",
    }


def rungs() -> tuple[Rung, ...]:
    return (Rung("ngram", "ngram", "ngram", 6, "float32", {"ngram": 1.0}, 1.25, 0.8),
            Rung("tiny", "encoder", "tiny", 4, "int8", {"ngram": 0.5, "tiny": 1}, 1, 0.0, 128))


def manifest(**changes) -> Manifest:
    told = {"name": "support", "version": "0.1.0", "labels": ("card", "refund"), "rungs": rungs(), "descriptions": {"card": "where the card is"},
            "provenance": {"seed": 0, "data": {"sha256": "ab" * 32}, "measured": {"seconds": 1.5}}, "scores": {"accuracy": 0.93}}
    return Manifest(**(told | changes))


def save(folder: Path, fill: float = 0.5, **changes) -> Manifest:
    return write_bundle(folder, bundle_files(fill), manifest(**changes))


def save_small(folder: Path, fill: float = 0.5, **changes) -> Manifest:
    """One rung, two files, two folders deep: for tests that save hundreds of times."""
    files = {ONNX: onnx_bytes(), CONFIG: json.dumps({"fill": fill}).encode()}
    rung = Rung("tiny", "encoder", "tiny", 4, "int8", {"tiny": 1.0})
    return write_bundle(folder, files, manifest(rungs=(rung,), **changes))
