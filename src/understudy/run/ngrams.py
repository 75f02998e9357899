"""Hashed word and character n-grams: the features of the cheapest rung, the same bytes in training and in answering.

A text is lower-cased (NFKC) and cut into words; each word gives itself and the character n-grams of ` word ` (spaces
mark its ends), each pair of neighbours gives a bigram. A feature is the CRC-32 of its UTF-8 bytes with a one-letter
prefix. Every feature belongs to one word or one bigram, so a linear model adds up per word: what a word contributes is
computed once and remembered, which is what makes a request cost microseconds.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from zlib import crc32

_WORDS = re.compile(r"\w+|[^\w\s]")
_LONGEST_WORD = 40


@dataclass(frozen=True)
class NgramConfig:
    """Which n-grams are features; stored with the model."""

    min_chars: int = 2
    max_chars: int = 5
    bigrams: bool = True
    longest_text: int = 20_000
    """Characters read of a text; a longer one is judged by its beginning."""


def words_of(text: str, config: NgramConfig) -> list[str]:
    """The words of a text, in order; a run of more than 40 word characters is cut so that no word is unbounded."""
    text = text[: config.longest_text]
    if not text.isascii():
        text = unicodedata.normalize("NFKC", text)
    words = _WORDS.findall(text.lower())
    if any(len(word) > _LONGEST_WORD for word in words):
        words = [word[i:i + _LONGEST_WORD] for word in words for i in range(0, len(word), _LONGEST_WORD)]
    return words


def word_features(word: str, config: NgramConfig) -> list[int]:
    """The distinct feature hashes of one word: the word itself and its character n-grams."""
    features = {crc32(b"w" + word.encode("utf-8", "replace")): None}
    padded = f" {word} "
    for n in range(config.min_chars, config.max_chars + 1):
        for start in range(len(padded) - n + 1):
            features[crc32(b"c" + padded[start:start + n].encode("utf-8", "replace"))] = None
    return list(features)


def bigram_feature(left: str, right: str) -> int:
    """The feature hash of two neighbouring words."""
    return crc32(b"b" + f"{left} {right}".encode("utf-8", "replace"))
