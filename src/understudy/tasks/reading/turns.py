"""Conversations out of a data file: rows with a list of messages, in the form that chat APIs log or that ShareGPT has."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

from ...errors import DataError, UsageError
from .examples import ReadReport
from .problems import BadValue
from .table import open_table

ROLES = ("system", "user", "assistant")
_COLUMNS = ("messages", "conversations", "conversation", "turns", "dialogue", "dialog")
_NAMES = {"human": "user", "customer": "user", "prompter": "user", "gpt": "assistant", "bot": "assistant", "agent": "assistant", "model": "assistant"}


@dataclass(frozen=True, slots=True)
class Conversation:
    """Turns as (role, text), the role one of system, user, assistant; `line` is where it stood."""

    turns: tuple[tuple[str, str], ...]
    line: int = 0

    @property
    def messages(self) -> list[dict[str, str]]:
        """The turns as chat APIs spell them."""
        return [{"role": role, "content": text} for role, text in self.turns]

    def before_last_answer(self) -> tuple[list[dict[str, str]], str]:
        """(what stands before the assistant's last turn, that turn)."""
        at = max(index for index, (role, _) in enumerate(self.turns) if role == "assistant")
        return self.messages[:at], self.turns[at][1]


@dataclass(frozen=True)
class ConversationSet:
    """The conversations of a file in file order, and the report on how they were read."""

    conversations: list[Conversation]
    report: ReadReport


def read_conversations(path: str | os.PathLike[str], *, column: str | None = None, encoding: str | None = None,
                       on_bad_row: str = "fail") -> ConversationSet:
    """All conversations of a data file (JSON or JSON lines). One with no answer of an assistant is a bad row.

    Messages are objects with role and content (or from and value), or plain texts that take turns, the user first. Raises
    UsageError for a column that is missing, DataError for a file or row that cannot be used.
    """
    table = open_table(path, encoding=encoding, on_bad_row=on_bad_row, named=[column] if column else [])
    name = column or next((one for one in _COLUMNS if one in table.columns), None)
    if name is None or name not in table.columns:
        raise UsageError(f"{table.path} has no column {column!r}" if column else f"{table.path} has no column of messages: {', '.join(table.columns[:12])}",
                         hint='JSON lines such as {"messages": [{"role": "user", "content": "…"}, {"role": "assistant", "content": "…"}]}')
    found = []
    for row in table.rows():
        try:
            found.append(Conversation(_turns(row.values.get(name)), row.line))
        except BadValue as error:
            table.bad.add(row.line, str(error), error.hint)
    if not found:
        raise DataError(f"{table.path} has no conversation that can be used")
    report = ReadReport(table.path, table.format, table.encoding, table.delimiter, name, None, len(found), table.skipped_count,
                        tuple(table.skipped), tuple(table.notes), table.sha256(), table.bad.unit)
    return ConversationSet(found, report)


def _turns(value: Any) -> tuple[tuple[str, str], ...]:
    if not isinstance(value, list) or not value:
        raise BadValue("the messages are not a list")
    turns = tuple(_turn(one, index) for index, one in enumerate(value))
    if not any(role == "assistant" for role, _ in turns[1:]):
        raise BadValue("no assistant answers in it, so there is nothing to learn")
    if any(role == "system" for role, _ in turns[1:]):
        raise BadValue("a system message stands in the middle", "it belongs at the beginning")
    return turns


def _turn(value: Any, index: int) -> tuple[str, str]:
    role: Any
    text: Any
    if isinstance(value, str):
        role, text = ("user", "assistant")[index % 2], value
    elif isinstance(value, dict):
        role, text = value.get("role", value.get("from", value.get("speaker"))), value.get("content", value.get("value", value.get("text")))
        role = _NAMES.get(str(role).lower(), str(role).lower())
    else:
        raise BadValue(f"message {index + 1} is neither an object nor a text")
    if role not in ROLES:
        raise BadValue(f"message {index + 1} has the role {role!r}", f"roles are {', '.join(ROLES)}")
    if not isinstance(text, str) or not text.strip():
        raise BadValue(f"message {index + 1} is empty")
    return role, text
