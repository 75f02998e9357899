"""How the next token is chosen: one frozen dataclass, checked before anything runs, and its form in llama.cpp's words."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import Any

from ...errors import UsageError
from .schema import literal, schema_grammar
from .wire import EngineError

_MOST_STOPS, _LONGEST_STOP = 16, 256
_MOST_CHOICES, _LONGEST_CHOICE = 1024, 1024
_RANGES: dict[str, tuple[float, float]] = {
    "max_tokens": (1, 1 << 20), "temperature": (0, 10), "top_p": (0, 1), "top_k": (0, 1 << 20), "min_p": (0, 1),
    "repeat_penalty": (0.1, 10), "seed": (0, (1 << 32) - 2), "logprobs": (0, 20),
}  # fmt: skip
_WHOLE = ("max_tokens", "top_k", "seed", "logprobs")


@dataclass(frozen=True)
class Sampling:
    """How to continue a text. The defaults take the likeliest token each time.

    `max_tokens` bounds the answer; `temperature` 0 is greedy and ignores `seed`, `top_p`, `top_k` and `min_p`; `top_k` 0 and
    `min_p` 0 are off; `repeat_penalty` 1 is off; `stop` strings end the answer and are not part of it. `json_schema` holds
    the answer to a JSON schema (see `schema` for what it may say; cut short at `max_tokens`, with finish 'length'). `choices` allows exactly these strings,
    each completed whatever `max_tokens` says. `copy` asks for prompt-lookup speculation, which is faster where the answer
    repeats the prompt; the engine must have been opened with `copy=True`. `logprobs` asks `Engine.begin` for the probability of each
    token and of so many likeliest ones at its place. Raises UsageError.
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
    logprobs: int = 0

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
            schema_grammar(self.json_schema)


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


def choices_grammar(choices: tuple[str, ...]) -> str:
    """A GBNF grammar (llama.cpp, grammars/README.md) that allows exactly these strings."""
    return "root ::= " + " | ".join(literal(choice) for choice in dict.fromkeys(choices))


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
        "n_probs": sampling.logprobs,
    }  # fmt: skip
    if sampling.choices:
        fields["grammar"] = choices_grammar(sampling.choices)
    if sampling.json_schema is not None:
        fields["grammar"] = schema_grammar(sampling.json_schema)
    return fields
