"""Looks at a GGUF file before native code does: what it is, and that every count, length and offset in it is believable.

Own reader, pure Python: llama.cpp trusts much of what a header says and aborts the process where it does not like it.
Layout and tensor types after the GGUF specification (ggml, docs/gguf.md) and ggml's type table.
"""

from __future__ import annotations

import os
import stat
import struct
from dataclasses import dataclass, field
from math import prod
from pathlib import Path

from ...errors import BundleError
from .gguf_values import ArraySummary, Header

ARCHITECTURES = frozenset({
    "gemma", "gemma2", "gemma3", "gpt2", "gptneox", "granite", "llama", "mistral3", "olmo2", "phi2", "phi3", "qwen2", "qwen3", "smollm3",
})  # fmt: skip
"""Text-only decoders; others are refused because nobody has tried them here."""

TENSOR_TYPES: dict[int, tuple[str, int, int]] = {
    0: ("F32", 1, 4), 1: ("F16", 1, 2), 2: ("Q4_0", 32, 18), 3: ("Q4_1", 32, 20), 6: ("Q5_0", 32, 22), 7: ("Q5_1", 32, 24),
    8: ("Q8_0", 32, 34), 10: ("Q2_K", 256, 84), 11: ("Q3_K", 256, 110), 12: ("Q4_K", 256, 144), 13: ("Q5_K", 256, 176),
    14: ("Q6_K", 256, 210), 16: ("IQ2_XXS", 256, 66), 17: ("IQ2_XS", 256, 74), 18: ("IQ3_XXS", 256, 98), 19: ("IQ1_S", 256, 50),
    20: ("IQ4_NL", 32, 18), 21: ("IQ3_S", 256, 110), 22: ("IQ2_S", 256, 82), 23: ("IQ4_XS", 256, 136), 29: ("IQ1_M", 256, 56),
    30: ("BF16", 1, 2), 34: ("TQ1_0", 256, 54), 35: ("TQ2_0", 256, 66), 39: ("MXFP4", 32, 17),
}  # fmt: skip
"""ggml type number: name, values in a block, bytes of a block."""

_KEYS, _TENSORS, _DIMENSION, _LONGEST_KEY, _LONGEST_NAME = 4096, 65_536, 1 << 32, 256, 64
_BOUNDS = {"block_count": 1024, "embedding_length": 1 << 17, "feed_forward_length": 1 << 20, "context_length": 1 << 24,
           "attention.head_count": 4096, "attention.head_count_kv": 4096}  # fmt: skip
_TOKENS, _TOKEN_TYPES = "tokenizer.ggml.tokens", "tokenizer.ggml.token_type"
_CONTROL = 3


@dataclass(frozen=True)
class TensorInfo:
    """One tensor: its name, type, shape (fastest dimension first), absolute offset in the file and bytes."""

    name: str
    kind: str
    shape: tuple[int, ...]
    offset: int
    bytes: int


@dataclass(frozen=True)
class GgufInfo:
    """What a GGUF says about itself, checked.

    `metadata` holds numbers, booleans and strings as they are and arrays as `ArraySummary`; `context` is the length the
    model was trained for, in tokens; `size` is bytes of the file; `control` are the ids of control tokens.
    """

    path: Path
    architecture: str
    name: str
    metadata: dict[str, object] = field(repr=False)
    tensors: tuple[TensorInfo, ...] = field(repr=False)
    vocabulary: int
    context: int
    parameters: int
    size: int
    control: frozenset[int] = field(repr=False)


def inspect_gguf(path: str | os.PathLike[str]) -> GgufInfo:
    """Reads and checks the header of a GGUF; the weights are not read.

    Raises BundleError for anything that is not one whole, sane GGUF version 2 or 3 of a known text architecture:
    a symlink, a truncated file, lengths beyond the file, overlapping tensors, duplicated keys, absurd sizes.
    """
    fd, info = open_gguf(path)
    os.close(fd)
    return info


def open_gguf(path: str | os.PathLike[str]) -> tuple[int, GgufInfo]:
    """`inspect_gguf`, and the open descriptor of exactly the file that was inspected; the caller closes it."""
    where = Path(path)
    fd = _open_plain(where)
    try:
        size = os.fstat(fd).st_size
        info = _inspect(Header(fd, size, str(where)), where)
        if os.fstat(fd).st_size != size:
            raise BundleError(f"{where} changed its size while it was read", hint="wait until it is written, then try again")
    except BaseException:
        os.close(fd)
        raise
    return fd, info


def _open_plain(where: Path) -> int:
    if where.is_symlink():
        raise BundleError(f"{where} is a symbolic link, which a model file may not be", hint="name the file itself")
    try:
        fd = os.open(where, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0))
    except (OSError, ValueError) as problem:
        raise BundleError(f"{where} cannot be opened: {getattr(problem, 'strerror', None) or problem}") from None
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise BundleError(f"{where} is not a plain file", hint="name a .gguf file")
    return fd


def _inspect(header: Header, where: Path) -> GgufInfo:
    tensor_count, key_count = _counts(header)
    metadata = _metadata(header, key_count)
    architecture = metadata.get("general.architecture")
    if architecture not in ARCHITECTURES:
        raise header.refuse(f"the architecture {str(architecture)[:40]!r}, which is not one of {', '.join(sorted(ARCHITECTURES))}",
                            hint="only text decoders that were tried are opened")
    _hyperparameters(header, metadata, str(architecture))
    vocabulary, control = _vocabulary(header, metadata)
    tensors = _tensors(header, tensor_count, metadata)
    embedding = next((tensor for tensor in tensors if tensor.name == "token_embd.weight"), None)
    if embedding is None or len(embedding.shape) != 2 or embedding.shape[1] != vocabulary:
        raise header.refuse(f"its token embedding does not fit its vocabulary of {vocabulary} tokens")
    name = metadata.get("general.name")
    return GgufInfo(where, str(architecture), name if isinstance(name, str) else where.stem, metadata, tensors, vocabulary,
                    _whole(metadata[f"{architecture}.context_length"]), sum(prod(tensor.shape) for tensor in tensors), header.size, control)


def _counts(header: Header) -> tuple[int, int]:
    magic = header.need(4)
    if bytes(header.data[magic : magic + 4]) != b"GGUF":
        raise header.refuse("it does not begin with the letters GGUF")
    version = header.count("I")
    if version not in (2, 3):
        raise header.refuse(f"version {version}; 2 and 3 (little-endian) can be read")
    tensors, keys = header.count(), header.count()
    if not 0 < tensors <= _TENSORS or not 0 < keys <= _KEYS:
        raise header.refuse(f"{tensors} tensors and {keys} keys; at most {_TENSORS} and {_KEYS} are sane")
    return tensors, keys


def _metadata(header: Header, count: int) -> dict[str, object]:
    metadata: dict[str, object] = {}
    for _ in range(count):
        key = header.text(_LONGEST_KEY)
        if key in metadata:
            raise header.refuse(f"the key {key!r} twice")
        metadata[key] = header.value(key, frozenset({_TOKEN_TYPES}))
    if metadata.get("split.count") not in (None, 0, 1):
        raise header.refuse("one part of a model split over several files", hint="merge the parts with gguf-split first")
    return metadata


def _whole(value: object) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) else -1


def _hyperparameters(header: Header, metadata: dict[str, object], architecture: str) -> None:
    for suffix, most in _BOUNDS.items():
        key = f"{architecture}.{suffix}"
        value = metadata.get(key)
        needed = suffix in ("block_count", "embedding_length", "context_length", "attention.head_count")
        if isinstance(value, ArraySummary) or (value is None and not needed):
            continue
        if not 1 <= _whole(value) <= most:
            raise header.refuse(f"{key} is {str(value)[:40]}; between 1 and {most} is sane")
    if _whole(metadata[f"{architecture}.context_length"]) < 1:
        raise header.refuse("its context length is not a number")


def _vocabulary(header: Header, metadata: dict[str, object]) -> tuple[int, frozenset[int]]:
    """(number of tokens, ids of control tokens); checks that what refers to tokens stays inside the vocabulary."""
    if metadata.get("tokenizer.ggml.model") not in ("gpt2", "llama"):
        raise header.refuse(f"the tokenizer type {str(metadata.get('tokenizer.ggml.model'))[:40]!r}; 'gpt2' and 'llama' can be read")
    tokens = metadata.get(_TOKENS)
    if not isinstance(tokens, ArraySummary) or not 0 < tokens.count <= 1 << 20:
        raise header.refuse("it has no vocabulary, or one of more than a million tokens")
    for key, value in metadata.items():
        if key.startswith("tokenizer.ggml.") and key.endswith("_token_id") and not 0 <= _whole(value) < tokens.count:
            raise header.refuse(f"{key} is {str(value)[:40]}, outside its vocabulary of {tokens.count} tokens")
    kinds, scores = metadata.pop(_TOKEN_TYPES, None), metadata.get("tokenizer.ggml.scores")
    if isinstance(scores, ArraySummary) and scores.count < tokens.count:
        raise header.refuse(f"{scores.count} token scores for {tokens.count} tokens")
    if kinds is None:
        return tokens.count, frozenset()
    if not isinstance(kinds, bytes) or len(kinds) != 4 * tokens.count:
        raise header.refuse(f"its token types do not fit its {tokens.count} tokens")
    metadata[_TOKEN_TYPES] = ArraySummary(5, tokens.count)
    return tokens.count, frozenset(at for at, kind in enumerate(struct.unpack(f"<{tokens.count}i", kinds)) if kind == _CONTROL)


def _tensors(header: Header, count: int, metadata: dict[str, object]) -> tuple[TensorInfo, ...]:
    alignment = _whole(metadata.get("general.alignment", 32))
    if not 8 <= alignment <= 65_536 or alignment & (alignment - 1):
        raise header.refuse(f"an alignment of {alignment} bytes")
    found = [_tensor(header, alignment) for _ in range(count)]
    if len({tensor.name for tensor in found}) != count:
        raise header.refuse("two tensors of the same name")
    start = -(-header.at // alignment) * alignment
    placed = [TensorInfo(one.name, one.kind, one.shape, one.offset + start, one.bytes) for one in found]
    end = start
    for tensor in sorted(placed, key=lambda one: one.offset):
        if tensor.offset < end:
            raise header.refuse(f"the tensor {tensor.name!r} overlaps another")
        end = tensor.offset + tensor.bytes
        if end > header.size:
            raise header.refuse(f"the tensor {tensor.name!r} ends at byte {end} and the file at byte {header.size}")
    return tuple(placed)


def _tensor(header: Header, alignment: int) -> TensorInfo:
    name = header.text(_LONGEST_NAME)
    dimensions = header.count("I")
    if not 1 <= dimensions <= 4:
        raise header.refuse(f"the tensor {name!r} with {dimensions} dimensions")
    shape = tuple(header.count() for _ in range(dimensions))
    kind, offset = header.count("I"), header.count()
    if not all(1 <= size <= _DIMENSION for size in shape) or prod(shape) > header.size * 8:
        raise header.refuse(f"the tensor {name!r} of shape {list(shape)}, more than the file can hold")
    if kind not in TENSOR_TYPES:
        raise header.refuse(f"the tensor {name!r} of type {kind}, which is not known here")
    label, block, width = TENSOR_TYPES[kind]
    if shape[0] % block:
        raise header.refuse(f"the tensor {name!r} with rows of {shape[0]}, which {label} blocks of {block} do not divide")
    if offset % alignment:
        raise header.refuse(f"the tensor {name!r} at offset {offset}, which is not a multiple of {alignment}")
    return TensorInfo(name, label, shape, offset, prod(shape) // block * width)
