"""Token ids outside the vocabulary: in the other parts of tokenizer.json, in config.json and in the files beside it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

_SCALAR = re.compile(r"(?:.*_)?token_(?:id|index|ids)")
_BRACES = re.compile(r"(\{[{%#]|[}%#]\})")
_STRINGS = re.compile(r"""(['"])((?:\\.|(?!\1)[^\\])*+)\1""", re.DOTALL)
_TEMPLATE, _BLOCK = 100_000, 2_000
"""Characters of a chat template, and of one block in braces, that are looked at: hostile ones take quadratic time."""
_LISTS = ("suppress_tokens", "begin_suppress_tokens")
_SEQUENCES = ("bad_words_ids", "force_words_ids")
# Ids that a text decoder itself works with: they stay in the vocabulary; ids of images and sounds stay if their token does.
_NEEDED = re.compile(r"(?:bos|eos|pad|unk|sep|cls|mask|decoder_start|forced_bos|forced_eos)_token_ids?")


def needed_ids(fields: Mapping[str, Any]) -> Iterator[int]:
    """Ids that a config names for the decoder itself (beginning, end, padding ..., forced tokens), nested ones too."""
    for name, value in fields.items():
        if isinstance(value, Mapping):
            yield from needed_ids(value)
        elif _NEEDED.fullmatch(name):
            yield from _flat(value)
        elif name == "forced_decoder_ids" and isinstance(value, list):
            yield from _flat([pair[1] for pair in value if isinstance(pair, list) and len(pair) == 2])


def _flat(value: Any) -> Iterator[int]:
    if _is_id(value):
        yield value
    elif isinstance(value, list):
        for one in value:
            yield from _flat(one)


def remapped(fields: dict[str, Any], new_id: Mapping[int, int], dropped: list[str]) -> dict[str, Any]:
    """A config with every token id renamed. Ids whose piece is gone leave lists; a field left with none is taken out and
    named in `dropped`.
    """
    out: dict[str, Any] = {}
    for name, value in fields.items():
        if isinstance(value, dict) and name != "sequence_bias":
            out[name] = remapped(value, new_id, dropped)
        elif value is None or not (_SCALAR.fullmatch(name) or name in (*_LISTS, *_SEQUENCES, "forced_decoder_ids", "sequence_bias")):
            out[name] = value
        else:
            fresh = _renamed(name, value, new_id)
            if fresh is None or (fresh == [] and value != []):
                dropped.append(f"{name} ({_short(value)})")
            else:
                out[name] = fresh
    return out


def _renamed(name: str, value: Any, new_id: Mapping[int, int]) -> Any:
    if name == "forced_decoder_ids":
        pairs = [pair for pair in value if isinstance(pair, list) and len(pair) == 2] if isinstance(value, list) else []
        return [[place, new_id[old]] for place, old in pairs if _is_id(old) and old in new_id]
    if name == "sequence_bias":
        # Rules about sequences; a rule about a piece that is gone has nothing left to say.
        pairs = [pair for pair in value if isinstance(pair, list) and len(pair) == 2] if isinstance(value, list) else []
        return [[ids, bias] for ids, bias in ((_all(ids, new_id), bias) for ids, bias in pairs) if ids]
    if name in _SEQUENCES:
        return [ids for ids in (_all(one, new_id) for one in value) if ids] if isinstance(value, list) else None
    if isinstance(value, list):
        return [new_id[old] for old in value if _is_id(old) and old in new_id]
    return new_id.get(value) if _is_id(value) else None


def _is_id(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _all(ids: Any, new_id: Mapping[int, int]) -> Any:
    """A sequence renamed as a whole; None when one of its ids is gone. Sequences may lie one level deeper."""
    if isinstance(ids, list) and ids and all(isinstance(one, list) for one in ids):
        return [one for one in (_all(inner, new_id) for inner in ids) if one] or None
    return [new_id[old] for old in ids] if isinstance(ids, list) and ids and all(_is_id(old) and old in new_id for old in ids) else None


def _short(value: Any) -> str:
    return str(value) if len(str(value)) <= 40 else str(value)[:37] + "..."


def processor_ids(processor: Any) -> Iterator[int]:
    """Ids that a post-processor puts around texts."""
    if not isinstance(processor, dict):
        return
    for special in (processor.get("special_tokens") or {}).values():
        yield from _flat(special.get("ids") if isinstance(special, dict) else None)
    for end in ("sep", "cls"):
        yield from _flat(processor.get(end))
    for inner in processor.get("processors") or ():
        yield from processor_ids(inner)


def rename_processor(processor: Any, new_id: Mapping[int, int]) -> None:
    """Renames those ids in place; all of them are in `new_id`."""
    if not isinstance(processor, dict):
        return
    for special in (processor.get("special_tokens") or {}).values():
        special["ids"] = [new_id[old] for old in special["ids"]]
    for end in ("sep", "cls"):
        if isinstance(processor.get(end), list):
            processor[end] = [processor[end][0], new_id[processor[end][1]]]
    for inner in processor.get("processors") or ():
        rename_processor(inner, new_id)


def marks_of(told: Mapping[str, Any]) -> set[str]:
    """Characters that normalizer, pre-tokenizer and decoder write or look for, such as the visible space of SentencePiece.

    They stay pieces of their own: in bytes the decoder would not know them again.
    """
    found: set[str] = {"▁"}
    waiting: list[Any] = [told.get(part) for part in ("normalizer", "pre_tokenizer", "decoder")]
    while waiting:
        one = waiting.pop()
        if isinstance(one, list):
            waiting.extend(one)
        elif isinstance(one, dict):
            waiting.extend(value for value in one.values() if isinstance(value, list | dict))
            for name in ("replacement", "content", "prepend", "str_rep", "String"):
                if isinstance(one.get(name), str):
                    found.update(one[name])
    return found


def template_words(template: str) -> list[str]:
    """What a chat template writes itself: text outside of its braces, strings inside, and the usual names of roles with a line end."""
    if not template:
        return []
    words, inside = [], False
    for part in _BRACES.split(template[:_TEMPLATE]):
        if _BRACES.fullmatch(part):
            inside = part[0] == "{"
        elif inside:
            words += [word.replace("\\n", "\n").replace("\\t", "\t") for _, word in _STRINGS.findall(part[:_BLOCK])]
        elif part.strip():
            words.append(part)
    return words + [f"{role}{end}" for role in ("system", "user", "assistant", "model", "tool") for end in ("", "\n")]
