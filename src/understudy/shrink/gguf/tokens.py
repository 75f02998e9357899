"""The tokenizer of a checkpoint as GGUF metadata, from tokenizer.json: what llama.cpp reads must be what `tokenizers` reads.

Two kinds can be said exactly: byte-level BPE (`bytelevel.py`) and SentencePiece-like BPE with byte fallback (`pieces.py`).
Everything else is refused, with the setting that stands in the way.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from pathlib import Path
from typing import Any

from ...bundle.jsonio import shown
from ...errors import DataError
from .weights import read_json

_MAX_TOKENS = 1 << 22
_MAX_TEMPLATE = 1 << 20


class Kind(IntEnum):
    """The token types of the GGUF format."""

    NORMAL = 1
    UNKNOWN = 2
    CONTROL = 3
    USER_DEFINED = 4
    UNUSED = 5
    BYTE = 6


@dataclass
class Vocabulary:
    """A tokenizer on its way into a GGUF file: texts and kinds by id, the metadata keys, and what to tell the user."""

    texts: list[str]
    kinds: list[Kind]
    metadata: dict[str, Any] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def read_vocabulary(folder: Path, config: Mapping[str, Any]) -> Vocabulary:
    """The tokenizer of a checkpoint folder as keys below `tokenizer.`. Raises DataError for one that llama.cpp cannot follow."""
    data = _open(folder)
    vocabulary = _texts(data, int(config["vocab_size"]))
    _mark_unknown(data, vocabulary)
    model = data["model"]
    if any(step.get("type") == "ByteLevel" for step in steps(data.get("pre_tokenizer"), "pretokenizers")):
        from .bytelevel import describe
    elif model.get("byte_fallback"):
        from .pieces import describe
    else:
        raise DataError("tokenizer.json is neither byte-level BPE nor BPE with byte fallback, so some text has no tokens in it",
                        hint="train the tokenizer with the ByteLevel pre-tokenizer")
    describe(data, vocabulary)
    _flags(data, vocabulary)
    _special(folder, config, vocabulary)
    _template(folder, vocabulary)
    vocabulary.metadata |= {"tokenizer.ggml.tokens": vocabulary.texts,
                            "tokenizer.ggml.token_type": [int(kind) for kind in vocabulary.kinds]}
    return vocabulary


def steps(part: Any, inside: str) -> list[dict[str, Any]]:
    """The steps of a normalizer, pre-tokenizer or decoder, whether it is one, a Sequence, or null."""
    if part is None:
        return []
    if not isinstance(part, dict):
        raise DataError(f"tokenizer.json: expected an object, found {shown(part)}")
    if part.get("type") != "Sequence":
        return [part]
    found = part.get(inside)
    if not isinstance(found, list):
        raise DataError(f"tokenizer.json: a Sequence has no list of {inside}")
    return [step for item in found for step in steps(item, inside)]


def merges_of(model: Mapping[str, Any], texts: Mapping[str, int]) -> list[tuple[str, str]]:
    """The merges of a BPE model, in order. Raises DataError for a merge whose parts or result are not tokens."""
    found, merges = model.get("merges"), []
    if not isinstance(found, list):
        raise DataError("tokenizer.json: model.merges should be a list")
    for index, item in enumerate(found):
        pair = item.split(" ") if isinstance(item, str) else item
        if not isinstance(pair, list) or len(pair) != 2 or not all(isinstance(text, str) and text for text in pair):
            raise DataError(f"tokenizer.json: merge {index} is {shown(str(item))}, not a pair of tokens")
        for text in (*pair, pair[0] + pair[1]):
            if text not in texts:
                raise DataError(f"tokenizer.json: merge {index} uses {shown(text)}, which is not in the vocabulary")
        merges.append((pair[0], pair[1]))
    return merges


def _open(folder: Path) -> dict[str, Any]:
    if not (folder / "tokenizer.json").is_file():
        raise DataError(f"{folder} has no tokenizer.json",
                        hint="AutoTokenizer.from_pretrained(folder).save_pretrained(folder) writes one from tokenizer.model")
    data = read_json(folder / "tokenizer.json")
    model = data.get("model")
    if not isinstance(model, dict) or model.get("type", "BPE") != "BPE":
        kind = shown(model.get("type")) if isinstance(model, dict) else "missing"
        raise DataError(f"tokenizer.json: the model is {kind}, and only BPE can be written exactly")
    if not isinstance(model.get("vocab"), dict) or not isinstance(data.get("added_tokens", []), list):
        raise DataError("tokenizer.json has no vocabulary")
    for key in ("dropout", "continuing_subword_prefix", "end_of_word_suffix"):
        if model.get(key):
            raise DataError(f"tokenizer.json: the model sets {key} = {shown(model[key])}, which llama.cpp does not know")
    return data


def _texts(data: Mapping[str, Any], size: int) -> Vocabulary:
    """Texts and kinds by id, padded to the rows of the embedding."""
    texts: dict[int, str] = {}
    for text, token in data["model"]["vocab"].items():
        _place(texts, token, text)
    kinds = dict.fromkeys(texts, Kind.NORMAL)
    for added in data.get("added_tokens", []):
        if not isinstance(added, dict) or not isinstance(added.get("content"), str):
            raise DataError("tokenizer.json: an added token has no content")
        _place(texts, added.get("id"), added["content"])
        kinds[added["id"]] = Kind.CONTROL if added.get("special") else Kind.USER_DEFINED
    if max(texts, default=0) >= size:
        raise DataError(f"tokenizer.json has token ids up to {max(texts):,} and the model has {size:,} rows of embedding",
                        hint="the tokenizer belongs to another model, or the embedding was not resized")
    if len(set(texts.values())) != len(texts):
        twice = Counter(texts.values()).most_common(1)[0][0]
        raise DataError(f"tokenizer.json gives the token {shown(twice)} two ids, which llama.cpp refuses")
    known = set(texts.values())
    for token in range(size):
        if token not in texts:
            name = f"[PAD{token}]"
            texts[token], kinds[token] = name if name not in known else f"[PAD{token}]unused", Kind.UNUSED
    return Vocabulary([texts[token] for token in range(size)], [kinds[token] for token in range(size)])


def _place(texts: dict[int, str], token: Any, text: str) -> None:
    if isinstance(token, bool) or not isinstance(token, int) or not 0 <= token < _MAX_TOKENS:
        raise DataError(f"tokenizer.json gives {shown(text)} the id {shown(token)}, which is not an id from 0 to {_MAX_TOKENS:,}")
    if texts.setdefault(token, text) != text:
        raise DataError(f"tokenizer.json gives the id {token} to {shown(texts[token])} and to {shown(text)}")


def _mark_unknown(data: Mapping[str, Any], vocabulary: Vocabulary) -> None:
    unknown = data["model"].get("unk_token")
    if isinstance(unknown, str) and unknown in vocabulary.texts:
        token = vocabulary.texts.index(unknown)
        vocabulary.kinds[token] = Kind.UNKNOWN
        vocabulary.metadata["tokenizer.ggml.unknown_token_id"] = token


def _flags(data: Mapping[str, Any], vocabulary: Vocabulary) -> None:
    """Added tokens that also eat the white space beside them, or match whole words only: llama.cpp matches the bare text."""
    marked = [added["content"] for added in data.get("added_tokens", [])
              if added.get("lstrip") or added.get("rstrip") or added.get("single_word")]
    if marked:
        vocabulary.notes.append(f"{len(marked)} added tokens ({shown(marked[0])}, …) also take the white space beside them, "
                                "which llama.cpp does not: give it token ids, not text, where such tokens are used")


def _special(folder: Path, config: Mapping[str, Any], vocabulary: Vocabulary) -> None:
    """Beginning, end and padding; whether text is wrapped in them, as the post-processor does it."""
    settings = read_json(folder / "tokenizer_config.json", required=False)
    generation = read_json(folder / "generation_config.json", required=False)
    ends = _ids("eos", generation, config, settings, vocabulary)
    if not ends:
        raise DataError("neither generation_config.json, config.json nor tokenizer_config.json names an end-of-text token",
                        hint="set eos_token_id in generation_config.json: without it generation never ends")
    starts, pads = (_ids(word, generation, config, settings, vocabulary) for word in ("bos", "pad"))
    named = _named("eos", settings, vocabulary)
    if named in ends:
        ends.sort(key=lambda token: token != named)
    front, back = _wrapping(folder)
    if front and front != starts[:1] and starts and _named("bos", settings, vocabulary) not in (None, *front):
        raise DataError(f"tokenizer.json begins every text with {front}, and the configuration names {starts[0]} as the beginning of text")
    if len(front) > 1 or (back and back != ends[:1]):
        raise DataError(f"tokenizer.json wraps every text in the tokens {front} and {back}; llama.cpp adds one beginning and one end")
    keys = vocabulary.metadata
    keys["tokenizer.ggml.bos_token_id"] = (front or starts or ends)[0]
    keys["tokenizer.ggml.eos_token_id"] = ends[0]
    keys |= dict(zip(("tokenizer.ggml.eot_token_id", "tokenizer.ggml.eom_token_id"), ends[1:], strict=False))
    if len(ends) > 3:
        vocabulary.notes.append(f"llama.cpp keeps three end tokens; {len(ends) - 3} of the {len(ends)} are left out")
    if pads:
        keys["tokenizer.ggml.padding_token_id"] = pads[0]
    keys |= {"tokenizer.ggml.add_bos_token": bool(front), "tokenizer.ggml.add_eos_token": bool(back)}


def _ids(word: str, generation: Mapping[str, Any], config: Mapping[str, Any], settings: Mapping[str, Any],
         vocabulary: Vocabulary) -> list[int]:
    """The ids of a special token in the order in which transformers believes them: generation, model, tokenizer."""
    for where, values in (("generation_config.json", generation), ("config.json", config)):
        found = values.get(f"{word}_token_id")
        if found is None:
            continue
        tokens = found if isinstance(found, list) else [found]
        if not all(isinstance(token, int) and not isinstance(token, bool) for token in tokens):
            raise DataError(f"{where} has {word}_token_id = {shown(str(found))}, which should be a token id or a list of them")
        inside = [token for token in dict.fromkeys(tokens) if 0 <= token < len(vocabulary.texts)]
        if inside:
            return inside
    named = _named(word, settings, vocabulary)
    return [] if named is None else [named]


def _named(word: str, settings: Mapping[str, Any], vocabulary: Vocabulary) -> int | None:
    value = settings.get(f"{word}_token")
    text = value.get("content") if isinstance(value, dict) else value
    return vocabulary.texts.index(text) if isinstance(text, str) and text in vocabulary.texts else None


def _wrapping(folder: Path) -> tuple[list[int], list[int]]:
    """The tokens that the post-processor puts before and after a text."""
    tokenizer = open_tokenizer(folder)
    try:
        bare, whole = (tokenizer.encode("a", add_special_tokens=special).ids for special in (False, True))
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as problem:
        raise DataError(f"tokenizer.json cannot read the letter a: {str(problem)[:200]}") from None
    at = next((start for start in range(len(whole) - len(bare) + 1) if whole[start:start + len(bare)] == bare), None)
    if at is None:
        raise DataError("tokenizer.json has a post-processor that changes the text's own tokens")
    return whole[:at], whole[at + len(bare):]


def open_tokenizer(folder: Path) -> Any:
    """The tokenizer.json of a folder as `tokenizers` reads it, without padding or truncation. Raises DataError."""
    from tokenizers import Tokenizer

    try:
        tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as problem:  # a panic of the Rust library is no Exception
        raise DataError(f"tokenizer.json cannot be opened: {str(problem)[:200]}") from None
    tokenizer.no_padding()
    tokenizer.no_truncation()
    return tokenizer


def _template(folder: Path, vocabulary: Vocabulary) -> None:
    """The chat template as text; it is never run here."""
    template = read_json(folder / "tokenizer_config.json", required=False).get("chat_template")
    if isinstance(template, list):
        template = next((item.get("template") for item in template if isinstance(item, dict) and item.get("name") == "default"), None)
    file = folder / "chat_template.jinja"
    if template is None and file.is_file():
        if file.stat().st_size > _MAX_TEMPLATE:
            raise DataError(f"chat_template.jinja has {file.stat().st_size:,} bytes, more than {_MAX_TEMPLATE:,}")
        template = file.read_text("utf-8", errors="replace")
    if isinstance(template, str) and template:
        if len(template) > _MAX_TEMPLATE:
            raise DataError(f"the chat template has {len(template):,} characters, more than {_MAX_TEMPLATE:,}")
        vocabulary.metadata["tokenizer.chat_template"] = template
