"""How the next token is chosen: one frozen dataclass, checked before anything runs, and its form in llama.cpp's words."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import Any

from ...errors import UsageError
from .wire import EngineError

_MOST_STOPS, _LONGEST_STOP = 16, 256
_MOST_CHOICES, _LONGEST_CHOICE = 1024, 1024
_LONGEST_PATTERN = 256
# One way to write each value, the way of json.dumps: a small model otherwise wanders about in white space.
_LAYOUT = {"whitespace_flexible": False, "item_separator": ", ", "key_separator": ": "}
_SCHEMA_BYTES, _SCHEMA_DEPTH, _SCHEMA_NODES, _SCHEMA_REPEAT = 32_768, 16, 2000, 1000
_RANGES: dict[str, tuple[float, float]] = {
    "max_tokens": (1, 1 << 20), "temperature": (0, 10), "top_p": (0, 1), "top_k": (0, 1 << 20), "min_p": (0, 1),
    "repeat_penalty": (0.1, 10), "seed": (0, (1 << 32) - 2),
}  # fmt: skip
_WHOLE = ("max_tokens", "top_k", "seed")


@dataclass(frozen=True)
class Sampling:
    """How to continue a text. The defaults take the likeliest token each time.

    `max_tokens` bounds the answer; `temperature` 0 is greedy and ignores `seed`, `top_p`, `top_k` and `min_p`; `top_k` 0 and
    `min_p` 0 are off; `repeat_penalty` 1 is off; `stop` strings end the answer and are not part of it. `json_schema` holds
    the answer to a JSON schema (cut short at `max_tokens`, with finish 'length'). `choices` allows exactly these strings,
    each completed whatever `max_tokens` says. `copy` asks for prompt-lookup speculation, which is faster where the answer
    repeats the prompt; the engine must have been opened with `copy=True`. Raises UsageError.
    """

    max_tokens: int = 256
    temperature: float = 0.0
    top_p: float = 1.0
    top_k: int = 0
    min_p: float = 0.0
    repeat_penalty: float = 1.0
    seed: int = 0
    stop: tuple[str, ...] = ()
    json_schema: dict[str, Any] | None = None
    choices: tuple[str, ...] = ()
    copy: bool = False

    def __post_init__(self) -> None:
        for name, (least, most) in _RANGES.items():
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int if name in _WHOLE else int | float):
                raise UsageError(f"{name} is {value!r}, not a {'whole number' if name in _WHOLE else 'number'}")
            if not math.isfinite(value) or not least <= value <= most:
                raise UsageError(f"{name} is {value}", hint=f"between {least:g} and {most:g}")
        if self.top_p == 0:
            raise UsageError("top_p is 0, which leaves no token", hint="above 0, up to 1; use temperature=0 for the likeliest token")
        for name, most_strings, longest in (("stop", _MOST_STOPS, _LONGEST_STOP), ("choices", _MOST_CHOICES, _LONGEST_CHOICE)):
            object.__setattr__(self, name, _strings(name, getattr(self, name), most_strings, longest))
        if self.json_schema is not None and self.choices:
            raise UsageError("json_schema and choices are both given", hint="choose one of them")
        if self.json_schema is not None:
            _check_schema(self.json_schema)


def _strings(name: str, value: object, most: int, longest: int) -> tuple[str, ...]:
    if isinstance(value, str) or not isinstance(value, list | tuple):
        raise UsageError(f"{name} is {value!r}, not a tuple of strings")
    if len(value) > most:
        raise UsageError(f"{name} holds {len(value)} strings", hint=f"at most {most}")
    for one in value:
        if not isinstance(one, str) or not one:
            raise UsageError(f"{name} holds {one!r}", hint="strings that are not empty")
        if len(one) > longest:
            raise UsageError(f"{name} holds a string of {len(one)} characters", hint=f"at most {longest}")
        if "\ufffd" in one:
            raise UsageError(f"{name} holds {one!r} with U+FFFD, which stands for broken bytes", hint="remove that character")
        check_text(one, name)
    return tuple(value)


def check_text(text: str, name: str) -> None:
    """Refuses text that cannot become UTF-8, or holds a NUL, which native code would cut at. Raises UsageError."""
    if "\0" in text:
        raise UsageError(f"{name} holds a NUL character", hint="remove it")
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as problem:
        raise UsageError(f"{name} holds half a character (a lone surrogate) at position {problem.start}") from None


def _check_schema(schema: object) -> None:
    if not isinstance(schema, dict):
        raise UsageError(f"json_schema is {type(schema).__name__}, not a dict")
    try:
        size = len(json.dumps(schema, allow_nan=False).encode("utf-8"))
    except (TypeError, ValueError, RecursionError) as problem:
        raise UsageError(f"json_schema is not JSON: {problem}") from None
    if size > _SCHEMA_BYTES:
        raise UsageError(f"json_schema has {size} bytes", hint=f"at most {_SCHEMA_BYTES}")
    waiting: list[tuple[Any, int]] = [(schema, 1)]
    nodes = 0
    while waiting:
        node, depth = waiting.pop()
        nodes += 1
        if depth > _SCHEMA_DEPTH or nodes > _SCHEMA_NODES:
            raise UsageError("json_schema is too deep or too large", hint=f"at most {_SCHEMA_DEPTH} levels and {_SCHEMA_NODES} values")
        if isinstance(node, dict):
            _check_node(node)
        waiting.extend((inner, depth + 1) for inner in (node.values() if isinstance(node, dict) else node if isinstance(node, list) else ()))


def _check_node(node: dict[str, Any]) -> None:
    # Each of these makes the grammar huge, or slow to match, out of a few bytes of schema; a remote reference would be fetched.
    reference = node.get("$ref")
    if isinstance(reference, str) and not reference.startswith("#"):
        raise UsageError(f"json_schema refers to {reference!r}", hint="only references inside the schema (#/…) are followed")
    if isinstance(node.get("pattern"), str) and len(node["pattern"]) > _LONGEST_PATTERN:
        raise UsageError(f"json_schema holds a pattern of {len(node['pattern'])} characters", hint=f"at most {_LONGEST_PATTERN}")
    for key in ("minItems", "maxItems", "minLength", "maxLength"):
        if isinstance(node.get(key), int) and node[key] > _SCHEMA_REPEAT:
            raise UsageError(f"json_schema holds {key}={node[key]}", hint=f"at most {_SCHEMA_REPEAT}")


def choices_grammar(choices: tuple[str, ...]) -> str:
    """A GBNF grammar (llama.cpp, grammars/README.md) that allows exactly these strings."""
    return "root ::= " + " | ".join(f'"{"".join(map(_escaped, choice))}"' for choice in dict.fromkeys(choices))


def _escaped(letter: str) -> str:
    return letter if (letter.isascii() and letter.isalnum()) or letter == " " else f"\\U{ord(letter):08X}"


def check_answer(sampling: Sampling, text: str, finish: str) -> None:
    """Whether an answer that the model ended by itself keeps to the constraint. Raises EngineError.

    The constraint is native code's to hold; where it gives up in the middle of an answer it says so only in its log.
    """
    if finish != "end":
        return
    if sampling.choices and text not in sampling.choices:
        raise EngineError(f"the answer {text[:80]!r} is none of the choices")
    if sampling.json_schema is not None:
        try:
            json.loads(text)
        except (ValueError, RecursionError):
            raise EngineError(f"the answer {text[:80]!r} is not JSON although a schema was given",
                              hint="simplify the schema") from None


def native_fields(sampling: Sampling) -> dict[str, Any]:
    """The fields of llama.cpp's `/completion` for a sampling; every field is given, so that no native default applies."""
    longest = max((len(choice.encode("utf-8")) for choice in sampling.choices), default=0)
    fields: dict[str, Any] = {
        "n_predict": max(sampling.max_tokens, longest + 1) if sampling.choices else sampling.max_tokens,
        "temperature": sampling.temperature, "top_p": sampling.top_p, "top_k": sampling.top_k, "min_p": sampling.min_p,
        "repeat_penalty": sampling.repeat_penalty, "seed": sampling.seed, "stop": list(sampling.stop), "return_tokens": True,
    }  # fmt: skip
    if sampling.choices:
        fields["grammar"] = choices_grammar(sampling.choices)
    if sampling.json_schema is not None:
        fields["json_schema"] = {**sampling.json_schema, "x-guidance": _LAYOUT}
    return fields
