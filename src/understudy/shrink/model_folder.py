"""A Hugging Face model folder of a decoder: what trimming reads from it, and what goes along into the trimmed one."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..bundle import swap
from ..bundle.jsonio import plain, shown, strict_json
from ..errors import BundleError, TeacherError
from .tensor_rows import Shard, check_index, open_shard
from .token_fields import remapped, template_words

INDEX, WHOLE = "model.safetensors.index.json", "model.safetensors"
_MAX_JSON = 16 * 1024 * 1024
_COPIED = ("special_tokens_map.json", "chat_template.jinja", "chat_template.json")
_LEGAL = ("LICENSE", "LICENCE", "NOTICE", "USE_POLICY", "COPYING")


def read_file(path: Path, limit: int) -> bytes:
    """The bytes of a file that may have `limit` at most. Raises TeacherError."""
    try:
        with open(path, "rb") as file:
            data = file.read(limit + 1)
    except FileNotFoundError:
        raise TeacherError(f"{path.parent} has no {path.name}", hint="name a model folder with config.json, tokenizer.json and "
                                                                     "model.safetensors") from None
    except OSError as problem:
        raise TeacherError(f"{path} cannot be read: {swap.reason_of(problem)}") from None
    if len(data) > limit:
        raise TeacherError(f"{path} is larger than {limit:,} bytes")
    return data


def read_object(path: Path) -> dict[str, Any]:
    """The object in a small JSON file. Raises TeacherError."""
    try:
        value = strict_json(read_file(path, _MAX_JSON), str(path))
        plain(value, path.name)
    except BundleError as problem:
        raise TeacherError(str(problem)) from None
    if not isinstance(value, dict):
        raise TeacherError(f"{path} should hold an object and holds {type(value).__name__}")
    return value


def read_settings(folder: Path) -> dict[str, dict[str, Any]]:
    """config.json, and generation_config.json where there is one."""
    names = ["config.json"] + ["generation_config.json"] * (folder / "generation_config.json").is_file()
    settings = {name: read_object(folder / name) for name in names}
    config = settings["config.json"]
    if config.get("is_encoder_decoder"):
        raise TeacherError(f"{folder} is an encoder-decoder; only decoders can be trimmed here")
    if any("vocab_size_per_layer_input" in one for one in (config, config.get("text_config")) if isinstance(one, dict)):
        raise TeacherError(f"{folder} has embeddings in every layer (vocab_size_per_layer_input), which cannot be trimmed yet")
    return settings


def embedding_rows(config: dict[str, Any], folder: Path) -> int:
    """Rows of the embedding: those of the tokenizer's pieces, and the padding that some models have after them."""
    inner = config.get("text_config")
    rows = (inner if isinstance(inner, dict) and "vocab_size" in inner else config).get("vocab_size")
    if not isinstance(rows, int) or isinstance(rows, bool) or not 0 < rows < 2**31:
        raise TeacherError(f"{folder}/config.json has the vocab_size {shown(rows)}, which is not a number of pieces")
    return rows


def open_shards(folder: Path) -> list[Shard]:
    """The headers of all weights, checked. Raises TeacherError."""
    if (folder / INDEX).is_file():
        mapped = read_object(folder / INDEX).get("weight_map")
        if not isinstance(mapped, dict) or not mapped or not all(isinstance(name, str) for name in mapped.values()):
            raise TeacherError(f"{folder / INDEX} has no 'weight_map'")
        for name in set(mapped.values()):
            if Path(name).name != name or not name.endswith(".safetensors"):
                raise TeacherError(f"{folder / INDEX} names the file {shown(name)}, which is not a .safetensors file beside it")
        shards = [open_shard(folder / name) for name in sorted(set(mapped.values()))]
        check_index(mapped, shards)
        return shards
    if not (folder / WHOLE).is_file():
        raise TeacherError(f"{folder} has no {WHOLE}", hint="weights in another format: load the model with transformers and save it again")
    return [open_shard(folder / WHOLE)]


def chat_words(folder: Path) -> list[str]:
    """The words that the model's chat templates write themselves."""
    found: list[str] = []
    for name in ("tokenizer_config.json", "chat_template.json"):
        if (folder / name).is_file():
            told = read_object(folder / name).get("chat_template")
            many = told if isinstance(told, list) else [told]
            found += [str(one.get("template") or "") if isinstance(one, dict) else str(one or "") for one in many]
    if (folder / "chat_template.jinja").is_file():
        found.append(read_file(folder / "chat_template.jinja", _MAX_JSON).decode("utf-8", "replace"))
    return [word for template in found for word in template_words(template)]


def files_beside(folder: Path, new_id: Mapping[int, int]) -> dict[str, bytes]:
    """The small files that go along, with their ids renamed: tokenizer_config.json, added tokens, chat template, licence."""
    found: dict[str, bytes] = {}
    if (folder / "tokenizer_config.json").is_file():
        told = read_object(folder / "tokenizer_config.json")
        if isinstance(told.get("added_tokens_decoder"), dict):
            told["added_tokens_decoder"] = {str(new_id[int(old)]): one for old, one in told["added_tokens_decoder"].items()
                                            if old.isdecimal() and len(old) < 10 and int(old) in new_id}
        found["tokenizer_config.json"] = to_json(remapped(told, new_id, []))
    if (folder / "added_tokens.json").is_file():
        found["added_tokens.json"] = to_json({piece: new_id[old] for piece, old in read_object(folder / "added_tokens.json").items()
                                              if isinstance(old, int) and old in new_id})
    for path in sorted(folder.iterdir()):
        if path.is_file() and (path.name in _COPIED or path.name.upper().startswith(_LEGAL)):
            found[path.name] = read_file(path, _MAX_JSON)
    return found


def resized(fields: dict[str, Any], before: int, after: int) -> dict[str, Any]:
    """A config, or one inside it, that says vocab_size=`before` says `after`."""
    return {name: resized(value, before, after) if isinstance(value, dict) else after if name == "vocab_size" and value == before else value
            for name, value in fields.items()}


def to_json(value: Any) -> bytes:
    """As Hugging Face writes its small files."""
    return (json.dumps(value, indent=2, ensure_ascii=False) + "\n").encode()
