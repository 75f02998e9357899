"""A tokenizer.json behind one small face: the ids of a text. Loading is checked, a panic in native code is an error."""

from __future__ import annotations

from collections.abc import Sequence

from ..errors import BundleError

_LONGEST = 100_000
"""Characters of a text that are tokenised; no rung reads that many tokens, and one text must not hold up the others."""


class TextTokenizer:
    """Turns a text into ids without special tokens, or with them (`with_specials`)."""

    def __init__(self, tokenizer) -> None:
        self._tokenizer = tokenizer
        self.size: int = tokenizer.get_vocab_size(with_added_tokens=True)

    def ids(self, text: str, *, specials: bool = False) -> list[int]:
        """The token ids of one text."""
        return self._tokenizer.encode(_clean(text), add_special_tokens=specials).ids

    def batch(self, texts: Sequence[str], *, specials: bool = False) -> list[list[int]]:
        """The token ids of many texts; spreads over the cores."""
        return [one.ids for one in self._tokenizer.encode_batch_fast([_clean(text) for text in texts], add_special_tokens=specials)]


def _clean(text: str) -> str:
    # A lone surrogate cannot become UTF-8, and the tokenizer would raise a foreign error over it.
    return text[:_LONGEST].encode("utf-8", "replace").decode("utf-8") if not text.isascii() else text[:_LONGEST]


def open_tokenizer(data: bytes, where: str) -> TextTokenizer:
    """Opens the bytes of a tokenizer.json, with truncation and padding off. Raises BundleError naming `where`."""
    from tokenizers import Tokenizer

    try:
        tokenizer = Tokenizer.from_str(data.decode("utf-8"))
    except BaseException as problem:  # a Rust panic is a BaseException, and hostile files cause them
        if isinstance(problem, KeyboardInterrupt | SystemExit):
            raise
        raise BundleError(f"{where} cannot be opened as a tokenizer: {problem}") from None
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return TextTokenizer(tokenizer)
