"""The vocabulary half of a tokenizer.json: the model, its tokens and the tokens added to it."""

from __future__ import annotations

from typing import Any

from ..errors import BundleError
from .fields import kind_of
from .jsonio import shown

MAX_VOCAB = 500_000
MAX_MERGES = 1_000_000
MAX_TOKEN = 1024
MAX_ADDED = 10_000
MAX_WORD = 1000
MAX_ID = 1_000_000

# Model type -> its fields. Source: the serde names of the tokenizers library, 0.22.
_MODELS = {
    "WordPiece": ("vocab", "unk_token", "continuing_subword_prefix", "max_input_chars_per_word"),
    "WordLevel": ("vocab", "unk_token"),
    "BPE": ("vocab", "merges", "dropout", "unk_token", "continuing_subword_prefix", "end_of_word_suffix", "fuse_unk", "byte_fallback",
            "ignore_merges"),
    "Unigram": ("vocab", "unk_id", "byte_fallback"),
}
_ADDED = ("id", "content", "single_word", "lstrip", "rstrip", "normalized", "special")


def check_model(model: dict[str, Any], name: str) -> None:
    """Raises BundleError unless `model` is a WordPiece, WordLevel, BPE or Unigram model within the limits above."""
    kind = model.get("type")
    allowed = _MODELS.get(kind) if isinstance(kind, str) else None
    if allowed is None:
        raise BundleError(f"{name}: the model has the type {shown(kind)}, which is not one of {', '.join(_MODELS)}",
                          hint="old files leave the type out; loading and saving it with the tokenizers library writes it" if kind is None else None)
    for key in model:
        if key != "type" and key not in allowed:
            raise BundleError(f"{name}: the model has the field {shown(key)}, which a {kind} should not have")
    if kind == "Unigram":
        _check_scored(model.get("vocab"), model.get("unk_id"), name)
    else:
        _check_vocab(model.get("vocab"), name)
    if kind == "BPE":
        _check_merges(model.get("merges"), name)
        if model.get("dropout"):
            raise BundleError(f"{name}: the model drops merges at random (dropout), so that no answer could be repeated")
    for key in ("unk_token", "continuing_subword_prefix", "end_of_word_suffix"):
        if model.get(key) is not None:
            _check_token(model[key], f"{name}: the model's '{key}'")
    for key in ("fuse_unk", "byte_fallback", "ignore_merges"):
        if not isinstance(model.get(key, False), bool):
            raise BundleError(f"{name}: the model's '{key}' is {kind_of(model[key])}, not true or false")
    if not _is_id(model.get("max_input_chars_per_word", 100), MAX_WORD):
        raise BundleError(f"{name}: the model's 'max_input_chars_per_word' is {kind_of(model['max_input_chars_per_word'])} "
                          f"(the limit is {MAX_WORD})")


def check_added_tokens(value: Any, name: str) -> None:
    """Raises BundleError unless `value` is a list of at most 10,000 added tokens, each a short text with an id and flags."""
    if not isinstance(value, list):
        raise BundleError(f"{name}: 'added_tokens' should be a list and is {kind_of(value)}")
    if len(value) > MAX_ADDED:
        raise BundleError(f"{name}: 'added_tokens' has {len(value):,} entries (the limit is {MAX_ADDED:,})")
    for index, token in enumerate(value):
        what = f"{name}: added_tokens[{index}]"
        if not isinstance(token, dict) or not set(token) <= set(_ADDED):
            raise BundleError(f"{what} should have {', '.join(_ADDED)} and nothing else")
        _check_token(token.get("content"), what)
        if not token["content"]:
            raise BundleError(f"{what} is empty, which would match everywhere")
        if not _is_id(token.get("id"), MAX_ID):
            raise BundleError(f"{what} has the id {shown(token.get('id'))}, which is not an integer from 0 to {MAX_ID:,}")
        for key in _ADDED[2:]:
            if not isinstance(token.get(key, False), bool):
                raise BundleError(f"{what}: '{key}' is {kind_of(token[key])}, not true or false")


def _check_vocab(vocab: Any, name: str) -> None:
    if not isinstance(vocab, dict) or not vocab:
        raise BundleError(f"{name}: the vocabulary should be an object of token and id, and not empty")
    _check_count(len(vocab), MAX_VOCAB, "vocabulary", name)
    for token, number in vocab.items():
        if len(token) > MAX_TOKEN // 4:
            _check_token(token, f"{name}: a token of the vocabulary")
        if not _is_id(number, MAX_ID):
            raise BundleError(f"{name}: the token {shown(token)} has the id {shown(number)}, which is not an integer from 0 to {MAX_ID:,}")
    if len(set(vocab.values())) != len(vocab):
        raise BundleError(f"{name}: two tokens of the vocabulary have the same id")


def _check_scored(vocab: Any, unknown: Any, name: str) -> None:
    if not isinstance(vocab, list) or not vocab:
        raise BundleError(f"{name}: the vocabulary should be a list of token and score, and not empty")
    _check_count(len(vocab), MAX_VOCAB, "vocabulary", name)
    for entry in vocab:
        if not (isinstance(entry, list) and len(entry) == 2 and isinstance(entry[1], (int, float)) and not isinstance(entry[1], bool)):
            raise BundleError(f"{name}: an entry of the vocabulary is not a token and a score")
        _check_token(entry[0], f"{name}: a token of the vocabulary")
    if unknown is not None and not _is_id(unknown, len(vocab) - 1):
        raise BundleError(f"{name}: the model's 'unk_id' is {shown(unknown)}, which is not in the vocabulary")


def _check_merges(merges: Any, name: str) -> None:
    if not isinstance(merges, list):
        raise BundleError(f"{name}: the merges should be a list and are {kind_of(merges)}")
    _check_count(len(merges), MAX_MERGES, "list of merges", name)
    for merge in merges:
        pair = merge if isinstance(merge, list) else [merge]
        if len(pair) > 2 or not all(isinstance(side, str) and len(side) <= 2 * MAX_TOKEN for side in pair):
            raise BundleError(f"{name}: a merge is {kind_of(merge)}, which is not two tokens")


def _check_count(count: int, limit: int, what: str, name: str) -> None:
    if count > limit:
        raise BundleError(f"{name}: the {what} has {count:,} entries (the limit is {limit:,})")


def _check_token(token: Any, what: str) -> None:
    if not isinstance(token, str):
        raise BundleError(f"{what} should be text and is {kind_of(token)}")
    if (size := len(token.encode("utf-8", "surrogatepass"))) > MAX_TOKEN:
        raise BundleError(f"{what} is {size:,} bytes long (the limit is {MAX_TOKEN:,})")


def _is_id(value: Any, limit: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= limit
