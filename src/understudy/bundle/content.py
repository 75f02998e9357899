"""What a file of a bundle may hold, by its suffix. A hash proves that a file is the one that was packed; this is
the question whether it should ever have been packed."""

from __future__ import annotations

from ..errors import BundleError
from .jsonio import shown, strict_json

MAGICS = ((b"PK\x03\x04", "a zip archive"), (b"PK\x05\x06", "a zip archive"), (b"\x1f\x8b", "a gzip archive"), (b"\x7fELF", "a program"))
MAX_JSON = 64 * 1024 * 1024
CODE_KEYS = ("auto_map", "custom_pipelines", "chat_template")
"""Keys of Hugging Face configs that name Python to import or a template to run."""


def check_content(name: str, data: bytes, where: str) -> None:
    """Raises BundleError when `data` is not what the suffix of `name` promises, or could run, reach out or blow up."""
    base = name.rsplit("/", 1)[-1]
    # Imported where they are needed: a bundle of n-grams alone should open without the walk over ONNX.
    if base.endswith(".onnx"):
        from .onnx_check import check_onnx

        check_onnx(data, where)
    elif base.endswith(".safetensors"):
        from .safetensors_check import check_safetensors

        check_safetensors(data, where)
    elif base == "tokenizer.json":
        from .tokenizer_check import check_tokenizer

        check_tokenizer(data, where)
    elif base.endswith(".json"):
        _check_json(data, where)
    elif base.endswith(".gguf"):
        if data[:4] != b"GGUF":
            raise BundleError(f"{where} is not a GGUF file: it starts with {shown(data[:4].decode('latin-1'))}")
    else:
        _check_text(data, where)


def _check_json(data: bytes, where: str) -> None:
    if len(data) > MAX_JSON:
        raise BundleError(f"{where} is {len(data):,} bytes (the limit for JSON is {MAX_JSON:,})")
    value = strict_json(data, where)
    if isinstance(value, dict):
        for key in CODE_KEYS:
            if value.get(key):
                raise BundleError(f"{where} has the key '{key}', which asks a reader to run code from the bundle")


def _check_text(data: bytes, where: str) -> None:
    for magic, what in MAGICS:
        if data.startswith(magic):
            raise BundleError(f"{where} is {what}, not text")
    try:
        data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise BundleError(f"{where} is not UTF-8 text: byte {error.start} is 0x{data[error.start]:02x}") from None
    if b"\x00" in data:
        raise BundleError(f"{where} holds a NUL byte, so it is not text")
