"""SentencePiece-like BPE for GGUF: Llama 2, Phi-3 and Gemma tokenizers, with a space written as ▁ and bytes for what has no token.

llama.cpp does not read merges here. It joins any two neighbours whose text is a token, best score first; tokenizer.json joins only
listed pairs, in the order of the list. The two agree when scores follow that order and every pair that could ever stand side by
side is listed; both are checked, and a tokenizer that would be read differently is refused with the text that shows it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import pairwise
from typing import Any

from ...bundle.jsonio import shown
from ...errors import DataError
from .tokens import Kind, Vocabulary, merges_of, steps

SPACE = "\u2581"
_MAX_LENGTH = 512
_BYTES = [f"<0x{byte:02X}>" for byte in range(256)]


def describe(data: Mapping[str, Any], vocabulary: Vocabulary) -> None:
    """Adds the metadata of a SentencePiece-like BPE to `vocabulary`. Raises DataError for one that llama.cpp cannot follow."""
    prefix = _spaces(data, vocabulary)
    ids = {text: token for token, text in enumerate(vocabulary.texts)}
    missing = [text for text in _BYTES if text not in ids]
    if missing:
        raise DataError(f"tokenizer.json falls back to bytes and has no token {missing[0]} ({len(missing)} of 256 are missing)")
    for text in _BYTES:
        vocabulary.kinds[ids[text]] = Kind.BYTE
    for token, text in enumerate(vocabulary.texts):
        # llama.cpp prints the ▁ of a user-defined token as it is; merges find these tokens without that mark.
        if vocabulary.kinds[token] == Kind.USER_DEFINED and SPACE in text and text in data["model"]["vocab"]:
            vocabulary.kinds[token] = Kind.NORMAL
    merges = merges_of(data["model"], ids)
    _check_pairs(merges, data["model"]["vocab"], vocabulary)
    vocabulary.metadata |= {"tokenizer.ggml.model": "llama", "tokenizer.ggml.pre": "default",
                            "tokenizer.ggml.scores": _scores(merges, vocabulary),
                            "tokenizer.ggml.add_space_prefix": prefix}


def _spaces(data: Mapping[str, Any], vocabulary: Vocabulary) -> bool:
    """Whether a space is put before the text. Raises DataError unless spaces become ▁ and nothing else happens to the text."""
    normalizer = steps(data.get("normalizer"), "normalizers")
    pre = steps(data.get("pre_tokenizer"), "pretokenizers")
    prepends = [step for step in normalizer if step.get("type") == "Prepend"]
    replaces = [step for step in normalizer if step.get("type") == "Replace"]
    for step in normalizer:
        good = {"Prepend": step.get("prepend") == SPACE, "Replace": (step.get("pattern"), step.get("content")) == ({"String": " "}, SPACE)}
        if not good.get(str(step.get("type")), False):
            raise DataError(f"tokenizer.json normalizes text with {shown(step.get('type'))}, which llama.cpp does not do")
    if not pre or (replaces and [(step.get("type"), step.get("pattern")) for step in pre] == [("Split", {"String": " "})]):
        if not replaces:
            raise DataError("tokenizer.json does not write spaces as ▁, as llama.cpp does in this kind of tokenizer")
        return bool(prepends)
    if len(pre) != 1 or pre[0].get("type") != "Metaspace" or pre[0].get("replacement") != SPACE or normalizer:
        raise DataError(f"tokenizer.json cuts text with {shown(pre[0].get('type'))}, which llama.cpp does not do in this kind of tokenizer")
    return _metaspace(pre[0], data["model"]["vocab"], vocabulary)


def _metaspace(step: Mapping[str, Any], texts: Mapping[str, int], vocabulary: Vocabulary) -> bool:
    across = next((text for text in texts if SPACE in text[1:]), None) if step.get("split", True) else None
    if across is not None:
        raise DataError(f"tokenizer.json cuts text at spaces, and its token {shown(across)} reaches across one: llama.cpp would use it",
                        hint="save the pre-tokenizer as Metaspace(split=False)")
    scheme = step.get("prepend_scheme", "always" if step.get("add_prefix_space", True) else "never")
    if scheme != "never":
        vocabulary.notes.append("text that begins with a space gets a second one from llama.cpp and not from tokenizer.json")
    if scheme == "first":
        vocabulary.notes.append("llama.cpp also puts a space after special tokens: give it token ids, not text, where they are used")
    return scheme != "never"


def _scores(merges: list[tuple[str, str]], vocabulary: Vocabulary) -> list[float]:
    """A score for every token: minus the place of its first merge, so that the best score is the first merge."""
    first: dict[str, int] = {}
    last: dict[str, int] = {}
    for rank, (left, right) in enumerate(merges):
        first.setdefault(left + right, rank)
        last[left + right] = rank
    starts = sorted(first, key=first.__getitem__)
    mixed = sum(last[text] > first[after] for text, after in pairwise(starts))
    if mixed:
        vocabulary.notes.append(f"the merges of {mixed} tokens are mixed with those of others; llama.cpp may join them in another order")
    # Places above 2^24 would not be exact in float32; no tokenizer comes near.
    return [float(-first.get(text, len(merges) + 1)) for text in vocabulary.texts]


def _check_pairs(merges: list[tuple[str, str]], texts: Mapping[str, int], vocabulary: Vocabulary) -> None:
    """Raises DataError for two neighbours that llama.cpp would join and tokenizer.json does not."""
    ranks = {pair: rank for rank, pair in reversed(list(enumerate(merges)))}
    spelled = []
    for text, kind in zip(vocabulary.texts, vocabulary.kinds, strict=True):
        if len(text) > _MAX_LENGTH:
            raise DataError(f"tokenizer.json has a token of {len(text):,} characters; {_MAX_LENGTH} is the most that is checked")
        for left, right in _splits(text, texts):
            if (left, right) in ranks or (kind != Kind.UNUSED and not _meets(left, right, ranks, texts)):
                continue
            if kind == Kind.NORMAL:
                raise DataError(f"llama.cpp would read {shown(text)} as one token where tokenizer.json has {shown(left)}, {shown(right)}",
                                hint="add the missing merges, as SentencePiece models have them, or train a byte-level tokenizer")
            spelled.append(text)
            break
    if spelled:
        vocabulary.notes.append(f"text that spells {shown(spelled[0])} becomes that token in llama.cpp ({len(spelled)} such tokens): "
                                "give it token ids, not text, where the text is not trusted")


def _splits(text: str, texts: Mapping[str, int]) -> Iterator[tuple[str, str]]:
    """The ways to cut a text into two parts that llama.cpp could hold as symbols: single characters or tokens."""
    for at in range(1, len(text)):
        left, right = text[:at], text[at:]
        if (at == 1 or left in texts) and (len(right) == 1 or right in texts):
            yield left, right


def _meets(left: str, right: str, ranks: Mapping[tuple[str, str], int], texts: Mapping[str, int]) -> bool:
    """Whether the listed merges ever leave exactly `left` beside `right`.

    Their borders survive only where no merge crosses them, and then what happens between does not depend on the surroundings:
    it is enough to look at the two alone.
    """
    symbols = list(left + right)
    if any(symbol not in texts for symbol in symbols):
        return True
    while symbols != [left, right]:
        options = [(ranks[pair], at) for at, pair in enumerate(pairwise(symbols)) if pair in ranks]
        if not options:
            return False
        at = min(options)[1]
        symbols[at:at + 2] = [symbols[at] + symbols[at + 1]]
    return True
