"""The flags of every verb that generates, and the Sampling they mean."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from ..errors import UsageError

if TYPE_CHECKING:
    from ..run.generate.sampling import Sampling

NAMES = ("max_tokens", "temperature", "top_p", "top_k", "min_p", "repeat_penalty", "seed", "stop", "json_schema", "choices", "copy")

_DRAWING = ("--top-p", "--top-k", "--min-p", "--seed")


def sampling_flags(function: Callable) -> Callable:
    """--max-tokens --temperature --top-p --top-k --min-p --repeat-penalty --seed --stop --json-schema --choice --copy."""
    flags = (
        click.option("--max-tokens", type=int, metavar="N", help="Longest answer in tokens, of each part where a long text is answered in parts; the model's own limit when not given."),
        click.option("--temperature", type=float, metavar="T", help="0 takes the likeliest token each time.  [default: 0]"),
        click.option("--top-p", type=float, metavar="P", help="Sample among the likeliest tokens that hold this share."),
        click.option("--top-k", type=int, metavar="K", help="Sample among the K likeliest tokens."),
        click.option("--min-p", type=float, metavar="P", help="Sample among tokens at least this likely against the likeliest."),
        click.option("--repeat-penalty", type=float, metavar="R", help="Above 1: what was just written becomes less likely."),
        click.option("--seed", type=int, metavar="N", help="Same seed, same answer, where the temperature is above 0."),
        click.option("--stop", multiple=True, metavar="TEXT", help="End the answer here; repeatable."),
        click.option("--json-schema", metavar="FILE", help="Hold the answer to a JSON schema."),
        click.option("--choice", "choices", multiple=True, metavar="TEXT", help="Allow exactly these answers; repeatable."),
        click.option("--copy", is_flag=True, default=None, help="Guess ahead from the prompt: faster where the answer repeats it, and the same answer."))
    for flag in reversed(flags):
        function = flag(function)
    return function


def chosen(given: dict[str, Any], **base: Any) -> Sampling:
    """The Sampling of the flags; `base` are the model's own settings where no flag is given."""
    from ..run.generate.sampling import Sampling

    kept = {name: value for name, value in given.items() if name in NAMES and value is not None and value != ()}
    if "json_schema" in kept:
        kept["json_schema"] = _schema(kept["json_schema"])
    sampling = Sampling(**{**base, **kept})
    idle = next((flag for flag in used(given) if flag in _DRAWING), None)
    if idle and not sampling.temperature:
        raise UsageError(f"{idle} says how to draw, and at temperature 0 the likeliest token is taken each time", hint="--temperature 0.8, or leave it out")
    if sampling.choices and "max_tokens" in kept:
        raise UsageError("--max-tokens bounds what is free, and with --choice the answer is one of those texts", hint="leave one of the two out")
    return sampling


def used(given: dict[str, Any]) -> list[str]:
    """The flags that were given, as they are written."""
    return [f"--{'choice' if name == 'choices' else name.replace('_', '-')}" for name in NAMES if given.get(name) not in (None, ())]


def _schema(path: str) -> dict[str, Any]:
    import json
    from pathlib import Path

    try:
        told = json.loads(Path(path).read_bytes())
    except OSError as problem:
        raise UsageError(f"{path} cannot be read: {problem.strerror}") from None
    except (ValueError, RecursionError) as problem:
        raise UsageError(f"{path} is not JSON: {problem}") from None
    if not isinstance(told, dict):
        raise UsageError(f"{path} is not a JSON schema: it holds {type(told).__name__}", hint="an object with a 'type'")
    return told
