"""Whether a tokenizer.json is one of the known kinds, decided before the tokenizer library sees it.

A tokenizer file is a small program: regular expressions that can take for ever on 25 characters, replacements that
double a text 64 times over, paddings to a billion. So every part comes from an allow-list, every regular expression
is one of the exact strings below, and every number has a limit. FORMAT.md lists them.
"""

from __future__ import annotations

import base64
import binascii
from typing import Any

from ..errors import BundleError
from .fields import kind_of
from .jsonio import shown, strict_json
from .tokenizer_vocab import check_added_tokens, check_model

MAX_TOKENIZER = 64 * 1024 * 1024
MAX_STEPS = 64
MAX_NESTING = 2
MAX_TEXT = 64
MAX_GROWTH = 64.0
MAX_LENGTH = 1_000_000
MAX_PADDING = 100_000
MAX_CHARSMAP = 4 * 1024 * 1024

REGEXES = frozenset({
    # GPT-2: github.com/openai/gpt-2, encoder.py
    r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+",
    # Llama 3: tokenizer.json of meta-llama/Meta-Llama-3-8B
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
    # Qwen 2: tokenizer.json of Qwen/Qwen2-0.5B
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
    # What converted SentencePiece tokenizers use to join spaces
    r" {2,}",
})

_TOP = ("version", "truncation", "padding", "added_tokens", "normalizer", "pre_tokenizer", "post_processor", "decoder", "model")
_BEHAVIOURS = ("Removed", "Isolated", "MergedWithPrevious", "MergedWithNext", "Contiguous")
_SPACE_OPTIONS = ("replacement", "prepend_scheme", "split", "add_prefix_space", "str_rep")

# Part -> type -> the fields it may have beside "type". Source: the serde names of the tokenizers library, 0.22.
_PARTS: dict[str, dict[str, tuple[str, ...]]] = {
    "normalizer": {
        "BertNormalizer": ("clean_text", "handle_chinese_chars", "strip_accents", "lowercase"),
        "Strip": ("strip_left", "strip_right"), "StripAccents": (), "NFC": (), "NFD": (), "NFKC": (), "NFKD": (), "Lowercase": (), "Nmt": (),
        "ByteLevel": (), "Prepend": ("prepend",), "Replace": ("pattern", "content"), "Precompiled": ("precompiled_charsmap",),
        "Sequence": ("normalizers",),
    },
    "pre_tokenizer": {
        "BertPreTokenizer": (), "Whitespace": (), "WhitespaceSplit": (), "UnicodeScripts": (), "Digits": ("individual_digits",),
        "ByteLevel": ("add_prefix_space", "trim_offsets", "use_regex"), "Metaspace": _SPACE_OPTIONS, "Punctuation": ("behavior",),
        "CharDelimiterSplit": ("delimiter",), "Split": ("pattern", "behavior", "invert"), "Sequence": ("pretokenizers",),
    },
    "post_processor": {
        "BertProcessing": ("sep", "cls"), "RobertaProcessing": ("sep", "cls", "trim_offsets", "add_prefix_space"),
        "ByteLevel": ("add_prefix_space", "trim_offsets", "use_regex"), "TemplateProcessing": ("single", "pair", "special_tokens"),
        "Sequence": ("processors",),
    },
    "decoder": {
        "WordPiece": ("prefix", "cleanup"), "ByteLevel": ("add_prefix_space", "trim_offsets", "use_regex"), "Metaspace": _SPACE_OPTIONS,
        "BPEDecoder": ("suffix",), "ByteFallback": (), "Fuse": (), "Strip": ("content", "start", "stop"), "Replace": ("pattern", "content"),
        "Sequence": ("decoders",),
    },
}


def check_tokenizer(data: bytes, name: str) -> None:
    """Raises BundleError, naming the file, the part and the reason, unless `data` is a tokenizer.json of known parts. Returns nothing."""
    if len(data) > MAX_TOKENIZER:
        raise BundleError(f"{name} is {len(data):,} bytes (the limit for a tokenizer is {MAX_TOKENIZER:,})")
    body = _object(strict_json(data, name), name)
    for key in body:
        if key not in _TOP:
            raise BundleError(f"{name} has the field {shown(key)}, which a tokenizer does not have")
    check_model(_object(body.get("model"), f"{name}: 'model'"), name)
    check_added_tokens(body.get("added_tokens", []), name)
    for part in _PARTS:
        if body.get(part) is not None:
            growth = _part(part, body[part], f"{name}: '{part}'", 0)
            if growth > MAX_GROWTH:
                raise BundleError(f"{name}: the replacements in '{part}' can make a text {growth:,.0f} times as long (the limit is {MAX_GROWTH:g})")
    _check_lengths(body, name)


def _part(part: str, value: Any, what: str, depth: int) -> float:
    """Checks one part and the parts in it; returns by how much it can lengthen a text."""
    entry = _object(value, what)
    kind = entry.get("type")
    allowed = _PARTS[part].get(kind) if isinstance(kind, str) else None
    if allowed is None:
        raise BundleError(f"{what} has the type {shown(kind)}, which is not one of {', '.join(sorted(_PARTS[part]))}")
    for key in entry:
        if key != "type" and key not in allowed:
            raise BundleError(f"{what} ({kind}) has the field {shown(key)}, which it should not have")
    if kind == "Sequence":
        return _sequence(part, entry.get(allowed[0]), what, depth)
    if kind == "TemplateProcessing":
        _check_template(entry, what)
    if kind == "Precompiled":
        _check_charsmap(entry.get("precompiled_charsmap"), what)
    if kind in ("Replace", "Split"):
        shortest = _pattern(entry.get("pattern"), what)
        if kind == "Replace":
            return max(1.0, len(_short(entry.get("content"), f"{what}: 'content'").encode()) / shortest)
    _check_options(entry, what)
    return 1.0


def _sequence(part: str, steps: Any, what: str, depth: int) -> float:
    if not isinstance(steps, list) or len(steps) > MAX_STEPS:
        raise BundleError(f"{what} (Sequence) should have a list of at most {MAX_STEPS} steps")
    if depth >= MAX_NESTING:
        raise BundleError(f"{what} nests sequences more than {MAX_NESTING} deep")
    growth = 1.0
    for index, step in enumerate(steps):
        growth = min(1e300, growth * _part(part, step, f"{what}[{index}]", depth + 1))
    return growth


def _pattern(value: Any, what: str) -> int:
    """Checks a pattern; returns the bytes of its shortest match."""
    pattern = _object(value, f"{what}: 'pattern'")
    if set(pattern) == {"String"}:
        text = _short(pattern["String"], f"{what}: 'pattern'")
        if not text:
            raise BundleError(f"{what}: 'pattern' is empty, which matches everywhere")
        return len(text.encode())
    if set(pattern) != {"Regex"}:
        raise BundleError(f"{what}: 'pattern' should be a String or a Regex")
    if not isinstance(pattern["Regex"], str) or pattern["Regex"] not in REGEXES:
        raise BundleError(f"{what} has the regular expression {shown(pattern['Regex'])}, which is not one of the known ones: it could take for ever")
    return 1


def _check_options(entry: dict[str, Any], what: str) -> None:
    """Plain options: true or false, null, a short text, a small number, or a pair of token and id."""
    for key, value in entry.items():
        if key in ("type", "pattern", "precompiled_charsmap", "single", "pair", "special_tokens"):
            continue
        if key == "behavior" and value not in _BEHAVIOURS:
            raise BundleError(f"{what}: 'behavior' is {shown(value)}, which is not one of {', '.join(_BEHAVIOURS)}")
        if key in ("sep", "cls"):
            if not (isinstance(value, list) and len(value) == 2 and isinstance(value[0], str) and _is_size(value[1], MAX_LENGTH)):
                raise BundleError(f"{what}: '{key}' should be a token and its id")
        elif isinstance(value, str):
            _short(value, f"{what}: '{key}'")
        elif not (value is None or isinstance(value, bool) or _is_size(value, MAX_TEXT)):
            raise BundleError(f"{what}: '{key}' is {kind_of(value)}, which is not an option of this part")


def _check_template(entry: dict[str, Any], what: str) -> None:
    specials = _object(entry.get("special_tokens"), f"{what}: 'special_tokens'")
    if len(specials) > 1000:
        raise BundleError(f"{what}: 'special_tokens' has {len(specials)} entries (the limit is 1000)")
    for key, value in specials.items():
        special = _object(value, f"{what}: the special token {shown(key)}")
        ids, tokens = special.get("ids"), special.get("tokens")
        if not (isinstance(ids, list) and isinstance(tokens, list) and len(ids) == len(tokens) <= MAX_TEXT
                and all(_is_size(number, MAX_LENGTH) for number in ids) and all(isinstance(token, str) for token in tokens)):
            raise BundleError(f"{what}: the special token {shown(key)} should have as many 'ids' as 'tokens', at most {MAX_TEXT}")
    for side in ("single", "pair"):
        pieces = entry.get(side)
        if not isinstance(pieces, list) or len(pieces) > MAX_TEXT:
            raise BundleError(f"{what}: '{side}' should be a list of at most {MAX_TEXT} pieces")
        for piece in pieces:
            _check_piece(piece, specials, f"{what}: '{side}'")


def _check_piece(piece: Any, specials: dict[str, Any], what: str) -> None:
    kind = next(iter(piece)) if isinstance(piece, dict) and len(piece) == 1 else None
    inner = piece[kind] if kind in ("Sequence", "SpecialToken") else None
    if not isinstance(inner, dict) or set(inner) != {"id", "type_id"} or not _is_size(inner["type_id"], 255):
        raise BundleError(f"{what} has a piece that is neither a Sequence nor a SpecialToken")
    known = ("A", "B") if kind == "Sequence" else specials
    if not isinstance(inner["id"], str) or inner["id"] not in known:
        raise BundleError(f"{what} names {shown(inner['id'])}, which is not defined")


def _check_charsmap(value: Any, what: str) -> None:
    if not isinstance(value, str) or len(value) > MAX_CHARSMAP:
        raise BundleError(f"{what}: 'precompiled_charsmap' should be text of at most {MAX_CHARSMAP:,} characters")
    try:
        base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError):
        raise BundleError(f"{what}: 'precompiled_charsmap' is not base64") from None


def _check_lengths(body: dict[str, Any], name: str) -> None:
    for part, limits in (("truncation", {"max_length": MAX_LENGTH, "stride": MAX_LENGTH}),
                         ("padding", {"pad_to_multiple_of": 4096, "pad_id": MAX_LENGTH, "pad_type_id": 255})):
        value = body.get(part)
        if value is None:
            continue
        entry = _object(value, f"{name}: '{part}'")
        for key, limit in limits.items():
            if entry.get(key) is not None and not _is_size(entry[key], limit):
                raise BundleError(f"{name}: '{part}.{key}' is {kind_of(entry[key])}, which is not an integer from 0 to {limit:,}")
        strategy = entry.get("strategy")
        if isinstance(strategy, dict) and not (set(strategy) == {"Fixed"} and _is_size(strategy["Fixed"], MAX_PADDING)):
            raise BundleError(f"{name}: '{part}.strategy' is {shown(str(strategy))}, which is not a fixed length up to {MAX_PADDING:,}")


def _object(value: Any, what: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise BundleError(f"{what} should be an object and is {kind_of(value)}")
    return value


def _short(value: Any, what: str) -> str:
    if not isinstance(value, str):
        raise BundleError(f"{what} should be text and is {kind_of(value)}")
    if len(value) > MAX_TEXT:
        raise BundleError(f"{what} is {len(value)} characters long (the limit is {MAX_TEXT})")
    return value


def _is_size(value: Any, limit: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= limit
