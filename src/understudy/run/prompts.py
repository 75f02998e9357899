"""How a bundle that writes makes its prompts: the file `generation.json`."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields
from typing import Any

from ..bundle import Bundle
from ..bundle.jsonio import strict_json
from ..errors import BundleError
from ..tasks.slots import NONE, Slots
from .generate.turns import Turn

SPEC = "generation.json"
FORMS = ("pair", "text", "chat")
_OPTIONAL = ("turns", "slots", "mends")


@dataclass(frozen=True)
class Prompt:
    """How a request becomes token ids. `pair`: begin, source, mark. `text`: begin, text. `chat`: begin, then turns, each with
    the mark of its role before it and `end` after it, or with the ids that `turns` puts around it. `mends`: what stands before each
    translation of a similar text, in a model that was taught to mend those; else nothing."""

    form: str
    begin: int | None
    mark: int | None
    end: int | None
    roles: dict[str, int]
    max_tokens: int
    turns: dict[str, Turn | None] | None = None
    slots: Slots = NONE
    mends: str = ""

    def to_json(self) -> bytes:
        """The file `generation.json`, without what is not there."""
        told = {name: value for name, value in asdict(self).items() if name not in _OPTIONAL or getattr(self, name) not in (None, NONE, "")}
        return (json.dumps(told, indent=1, sort_keys=True) + "\n").encode()

    @property
    def ids(self) -> list[int]:
        """Every token id that it names."""
        around = [one for turn in (self.turns or {}).values() if turn for one in (*turn.before, *turn.after)]
        return [one for one in (self.begin, self.mark, self.end, *self.roles.values(), *around) if one is not None]


def prompt_of(bundle: Bundle, name: str) -> Prompt:
    """The file `generation.json` called `name` in a bundle, checked. Raises BundleError."""
    where = f"{bundle.path}/{name}"
    told = strict_json(bundle.read(name), where)
    if not isinstance(told, dict) or {*told, *_OPTIONAL} != {one.name for one in fields(Prompt)} or told["form"] not in FORMS:
        raise BundleError(f"{where} does not say how prompts are made", hint=f"it has form ({', '.join(FORMS)}), begin, mark, end, roles and max_tokens")
    numbers = [told["begin"], told["mark"], told["end"], *(told["roles"].values() if isinstance(told["roles"], dict) else [""])]
    if not all(one is None or _is_id(one) for one in numbers):
        raise BundleError(f"{where}: begin, mark, end and roles are token ids or null")
    if isinstance(told["max_tokens"], bool) or not isinstance(told["max_tokens"], int) or not 1 <= told["max_tokens"] <= 1 << 20:
        raise BundleError(f"{where}: max_tokens is {told['max_tokens']!r}, not a whole number from 1 to 1,048,576")
    if not isinstance(told.get("mends", ""), str) or len(told.get("mends", "")) > 1:
        raise BundleError(f"{where}: mends is one character or none")
    prompt = Prompt(**{**told, "turns": _turns(told["turns"], where) if "turns" in told else None,
                       "slots": _slots(told["slots"], where) if "slots" in told else NONE})
    if prompt.form == "chat" and (prompt.turns or prompt.roles).get("assistant") is None:
        raise BundleError(f"{where}: a chat needs the role 'assistant'")
    return prompt


def _is_id(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1 << 24


def _slots(told: Any, where: str) -> Slots:
    lists = [told.get(one.name) for one in fields(Slots)] if isinstance(told, dict) and len(told) == len(fields(Slots)) else [None]
    if not all(isinstance(names, list) and len(names) <= 256 and all(isinstance(name, str) and 0 < len(name) <= 80 for name in names) for names in lists):
        raise BundleError(f"{where}: slots has the names of attributes that are filled in, and of those that are checked")
    return Slots(*(tuple(names) for names in lists if names is not None))


def _turns(told: Any, where: str) -> dict[str, Turn | None]:
    found: dict[str, Turn | None] = {}
    each: dict[str, Any] = told if isinstance(told, dict) else {"": told}
    for role, turn in each.items():
        parts = [turn.get("before"), turn.get("after")] if isinstance(turn, dict) and len(turn) == 2 else [None]
        if turn is not None and not all(isinstance(part, list) and len(part) <= 64 and all(map(_is_id, part)) for part in parts):
            raise BundleError(f"{where}: turns has a role {role!r} that is neither null nor the token ids before and after its text")
        found[role] = None if turn is None else Turn(tuple(turn["before"]), tuple(turn["after"]))
    return found
