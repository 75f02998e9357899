"""From checked rows to token sequences: what stands around a source, an answer and a turn, and which tokens are to be learned."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ...run.generate.template import render
from ...run.generate.turns import Turn, Turns, stretches
from ...tasks.reading.pairs import Pair
from ...tasks.reading.turns import Conversation
from ...teach.sequences import Sequences, cut, sequences_of

if TYPE_CHECKING:
    from tokenizers import Tokenizer

Split = Callable[[list[str]], list[list[int]]]
_TEXT = "\ue000"
"""Stands for a text where a template is looked at: a character that no template has."""


@dataclass(frozen=True)
class Marks:
    """The token ids that a prompt is made with: before everything, between the source and the answer, after the answer, by role; and,
    for a chat with the marks of a family, what stands around each role's turn."""

    begin: int | None
    mark: int | None
    end: int
    roles: dict[str, int]
    turns: Turns | None = None


def encoded(rows: Sequence[Pair | Conversation], split: Split, marks: Marks, context: int) -> Sequences:
    """Begin, source, mark | target, end. Plain text has no source and no mark; long text is cut, long pairs are left out.

    Of a conversation the assistant's turns are learned; of one that is too long, its beginning.
    """
    talks = [row for row in rows if isinstance(row, Conversation)]
    if talks:
        return sequences_of([one for talk in talks if (one := _talk(talk, split, marks, context))])
    pairs = [row for row in rows if isinstance(row, Pair)]
    begin = [marks.begin] if marks.begin is not None else []
    mark = [marks.mark] if marks.mark is not None else []
    sources, targets = split([pair.source for pair in pairs]), split([pair.target for pair in pairs])
    parts = [[([*begin, *source, *mark] if source else begin, False), ([*target, marks.end], True)]
             for source, target in zip(sources, targets, strict=True)]
    if any(sources):
        return sequences_of([one for one in parts if sum(len(stretch) for stretch, _ in one) <= context])
    return cut(sequences_of(parts), context)


def _talk(talk: Conversation, split: Split, marks: Marks, context: int) -> list[tuple[list[int], bool]]:
    turns = marks.turns or {role: Turn((number,), (marks.end,)) for role, number in marks.roles.items()}
    made: list[tuple[list[int], bool]] = []
    room = context
    for turn in stretches(talk.messages, marks.begin, turns, lambda text: split([text])[0]):
        room -= sum(len(ids) for ids, _ in turn)
        if room < 0:
            break
        made += turn
    return made if any(wanted for _, wanted in made) else []


def turns_of(template: str, tokenizer: Tokenizer, end: int) -> Turns | None:
    """What one of our chat templates puts around each role's text, as token ids; None where the vocabulary lacks one of its marks.

    `end` is the id that ends a text, for the template that has no mark of its own for the end of an answer.
    """
    specials = {token.content: number for number, token in tokenizer.get_added_tokens_decoder().items() if token.special}
    eos = tokenizer.id_to_token(end) or ""
    user, both, told = (_rendered(template, roles, eos) for roles in (("user",), ("user", "assistant"), ("system", "user")))
    marks = {*re.findall(r"<\|?\w+\|?>", "".join([*both, *told])), *([eos] if eos in "".join(both) else [])}
    if not marks <= specials.keys():
        return None

    def ids(text: str) -> tuple[int, ...]:
        names = "|".join(map(re.escape, sorted(specials, key=len, reverse=True)))
        parts = [part for part in re.split(f"({names})", text) if part]
        return tuple(number for part in parts for number in
                     ([specials[part]] if part in specials else tokenizer.encode(part, add_special_tokens=False).ids))

    # In a conversation of both, what follows the user's text and precedes the assistant's stands in one string.
    found: dict[str, Turn | None] = {"user": Turn(ids(user[0]), ids(user[1])),
                                     "assistant": Turn(ids(both[1].removeprefix(user[1])), ids(both[2]))}
    merged = told == [user[0], "\n\n", user[1]]
    return {"system": None if merged else Turn(ids(told[0]), ids(told[1].removesuffix(user[0]))), **found}


def _rendered(template: str, roles: Sequence[str], eos: str) -> list[str]:
    """What stands before, between and after the texts of a conversation."""
    return render([{"role": role, "content": _TEXT} for role in roles], template, eos=eos, add_generation_prompt=False).split(_TEXT)
