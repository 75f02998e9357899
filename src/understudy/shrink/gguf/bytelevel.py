"""Byte-level BPE for GGUF: which of llama.cpp's built-in ways of cutting text into words a tokenizer.json means.

llama.cpp has no field for a regular expression; it has names. The name is derived from the pre-tokenizer and never guessed: an
expression that is not in the table is refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ...bundle.jsonio import shown
from ...errors import DataError
from .tokens import Vocabulary, merges_of, steps

_CONTRACTIONS = "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
_TAIL = r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
_UPPER, _LOWER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
_GPT4O = (rf"[^\r\n\p{{L}}\p{{N}}]?{_UPPER}*{_LOWER}+{_CONTRACTIONS}?|[^\r\n\p{{L}}\p{{N}}]?{_UPPER}+{_LOWER}*{_CONTRACTIONS}?"
          r"|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+")
# expression of the Split step: (name where a whole word that is a token is taken as it is, name where merges decide); None: not there
_EXPRESSIONS: dict[str, tuple[str | None, str | None]] = {
    _CONTRACTIONS + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}" + _TAIL: ("llama-bpe", "smaug-bpe"),
    _CONTRACTIONS + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}" + _TAIL: (None, "qwen2"),
    _GPT4O: (None, "gpt-4o"),
}


def describe(data: Mapping[str, Any], vocabulary: Vocabulary) -> None:
    """Adds the metadata of a byte-level BPE to `vocabulary`. Raises DataError for one that llama.cpp cannot follow."""
    model, ids = data["model"], {text: token for token, text in enumerate(vocabulary.texts)}
    merges = merges_of(model, ids)
    missing = [symbol for symbol in byte_symbols() if symbol not in ids]
    if missing and isinstance(model.get("unk_token"), str):
        raise DataError(f"tokenizer.json has no token for {len(missing)} of the 256 bytes but an unknown token; llama.cpp drops them",
                        hint="train the tokenizer with initial_alphabet=ByteLevel.alphabet()")
    if missing:
        vocabulary.notes.append(f"{len(missing)} of the 256 bytes have no token: text that holds them loses them, here and in llama.cpp")
    _normaliser(data, vocabulary)
    names = _names(steps(data.get("pre_tokenizer"), "pretokenizers"))
    pre = names[0] if model.get("ignore_merges") else names[1]
    if pre is None:
        pre = names[1] or names[0]
        odd = _unmerged(vocabulary, merges, model)
        if odd:
            raise DataError(f"tokenizer.json sets ignore_merges = {bool(model.get('ignore_merges'))} and llama.cpp's {pre} does not; "
                            f"the token {shown(odd)} would be read differently")
    if pre == "gpt-4o":
        vocabulary.notes.append("llama.cpp cuts words at loose combining marks a little differently here: give it token ids there")
    vocabulary.metadata |= {"tokenizer.ggml.model": "gpt2", "tokenizer.ggml.pre": pre,
                            "tokenizer.ggml.merges": [f"{left} {right}" for left, right in merges]}


def byte_symbols() -> list[str]:
    """The 256 characters that stand for bytes in byte-level BPE: printable Latin-1 stands for itself, the rest is moved to U+0100 on."""
    keep = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    moved = iter(range(0x100, 0x200))
    return [chr(byte) if byte in keep else chr(next(moved)) for byte in range(256)]


def _normaliser(data: Mapping[str, Any], vocabulary: Vocabulary) -> None:
    found = [step.get("type") for step in steps(data.get("normalizer"), "normalizers")]
    if found == ["NFC"]:
        vocabulary.notes.append("the tokenizer composes Unicode (NFC) and llama.cpp does not: decomposed accents are tokenized differently")
    elif found:
        raise DataError(f"tokenizer.json normalizes text with {shown(', '.join(map(str, found)))}, which llama.cpp does not do")


def _names(pre: list[dict[str, Any]]) -> tuple[str | None, str | None]:
    """llama.cpp's names for a pre-tokenizer, with and without ignore_merges."""
    last = pre[-1]
    if last.get("type") != "ByteLevel":
        raise DataError("tokenizer.json: ByteLevel is not the last step of the pre-tokenizer")
    if last.get("add_prefix_space"):
        raise DataError("tokenizer.json puts a space before every text (add_prefix_space), which llama.cpp does not do in byte-level BPE",
                        hint="train the tokenizer with ByteLevel(add_prefix_space=False)")
    front = pre[:-1]
    if last.get("use_regex", True):
        if not front:
            return None, "gpt-2"
        if len(front) == 1 and front[0].get("type") == "Digits" and front[0].get("individual_digits"):
            return None, "smollm"
    elif len(front) == 1 and front[0].get("type") == "Split":
        split = front[0]
        expression = split["pattern"].get("Regex") if isinstance(split.get("pattern"), dict) else None
        isolated = (split.get("behavior"), bool(split.get("invert"))) in (("Isolated", False), ("Removed", True))
        if isolated and isinstance(expression, str) and expression in _EXPRESSIONS:
            return _EXPRESSIONS[expression]
        raise DataError(f"tokenizer.json splits text by the expression {shown(expression)}, which is none that llama.cpp has by name")
    raise DataError(f"tokenizer.json cuts text with {', '.join(shown(step.get('type')) for step in pre)}, which llama.cpp has no name for",
                    hint="byte-level tokenizers of GPT-2, SmolLM, Llama 3, Qwen 2 and GPT-4o can be written")


def _unmerged(vocabulary: Vocabulary, merges: list[tuple[str, str]], model: Mapping[str, Any]) -> str | None:
    """A token that the merges alone do not produce, so that ignore_merges matters; None where there is none."""
    from tokenizers import models

    bpe = models.BPE(vocab=dict(model["vocab"]), merges=merges, ignore_merges=False)
    special = {text for text, kind in zip(vocabulary.texts, vocabulary.kinds, strict=True) if kind != 1}
    return next((text for text in model["vocab"] if text not in special and [token.value for token in bpe.tokenize(text)] != [text]), None)
