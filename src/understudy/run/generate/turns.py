"""Conversations as token ids, where the marks around a turn are data: the ids before and after the text of each role.

One function makes the prompt that a bundle answers and the sequence that it was trained on, so the two cannot differ. Texts are
tokenised by themselves, without control tokens: the names of marks in a text are text.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from ...errors import UsageError

Tokenize = Callable[[str], list[int]]


@dataclass(frozen=True)
class Turn:
    """The ids before and after a role's text. What follows an assistant's text begins with the token that ends an answer."""

    before: tuple[int, ...]
    after: tuple[int, ...]


Turns = Mapping[str, Turn | None]
"""By role. None: the role has no turn of its own, its text stands on top of the next one, a blank line between."""


def stretches(messages: Sequence[Mapping[str, str]], begin: int | None, turns: Turns, tokenize: Tokenize) -> Iterator[list[tuple[list[int], bool]]]:
    """Turn by turn the ids of a conversation, each stretch with whether it is the assistant's to say: its text and the token that ends it.

    `begin` is the id that every conversation begins with, or None. Raises UsageError for a role that is not in `turns`.
    """
    yield [([] if begin is None else [begin], False)]
    above = ""
    for message in messages:
        role, text = message.get("role", ""), message.get("content") or " "
        if role not in turns:
            raise UsageError(f"the model knows no role {role!r}", hint=f"it knows {', '.join(turns)}")
        turn = turns[role]
        if turn is None:
            above += f"{text}\n\n"
            continue
        ids, above = tokenize(above + text), ""
        mine = int(role == "assistant")
        yield [([*turn.before], False), ([*ids, *turn.after[:mine]], bool(mine)), ([*turn.after[mine:]], False)]


def prompt_ids(messages: Sequence[Mapping[str, str]], begin: int | None, turns: Turns, tokenize: Tokenize) -> list[int]:
    """The ids of a conversation up to where the assistant begins. Raises as `stretches`."""
    ids = [one for turn in stretches(messages, begin, turns, tokenize) for stretch, _ in turn for one in stretch]
    assistant = turns["assistant"]
    return [*ids, *(assistant.before if assistant else ())]
