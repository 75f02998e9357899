"""gettext PO and POT: a message is marked for review by `#, fuzzy`, with the reason in a translator comment."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from ..document import Document, Edit, Entry, Target
from ..plurals import plural_forms
from ..poscan import Message, quote, scan
from ..textfile import Encoded, decode

NAME = "PO"
EXTENSIONS = (".po", ".pot")
_CHARSET = re.compile(rb"Content-Type:[^\r\n]*?charset=([A-Za-z0-9._:-]+)", re.I)
_REVIEW = "review: "
_NUMBER = re.compile(r"%(?:\(\w+\)|\d+\$)?[-+0-9.]*(?:hh?|ll?|j|z|t)?[diu]|\{[^{}]*\}|%n")


@dataclass(frozen=True)
class _Slot:
    message: Message
    index: int | None  # of msgstr[index]


def claims(head: str) -> bool:
    """Does text that begins so look like PO?"""
    return re.search(r'^msgid\s+"', head, re.M) is not None


def parse(raw: bytes, name: str = "<bytes>") -> Document:
    """An entry for every msgstr but the header's, as many plural forms as the header names. Raises DataError with the line."""
    declared = _CHARSET.search(raw[:20_000])
    charset = declared[1].decode("ascii") if declared and declared[1] != b"CHARSET" else None
    encoded = decode(raw, name, charset)
    messages = scan(encoded.text, name)
    header = next((message.msgstr[None].text for message in messages if _is_header(message)), "")
    forms = plural_forms(header, name)
    slots, entries = [], []
    for message in messages:
        if not _is_header(message):
            for index in _indices(message, forms):
                slots.append(_Slot(message, index))
                entries.append(_entry(message, index, forms))
    return Document(name, NAME, encoded, entries, lambda targets: _plan(encoded, slots, targets), bilingual=True, reviewable=True)


def _is_header(message: Message) -> bool:
    return message.msgid is not None and not message.msgid.text and message.msgctxt is None and None in message.msgstr


def _indices(message: Message, forms: list[frozenset[int]] | None) -> list[int | None]:
    if message.msgid_plural is None:
        return [None]
    known: set[int | None] = set(range(len(forms))) if forms else set()
    return sorted(known | set(message.msgstr), key=lambda index: index or 0)


def _entry(message: Message, index: int | None, forms: list[frozenset[int]] | None) -> Entry:
    assert message.msgid is not None
    have = message.msgstr.get(index)
    context = [message.msgctxt.text] if message.msgctxt else []
    context += [text for kind, text, _start, _end in message.comments if kind in (" ", ".") and text and not text.startswith(_REVIEW)]
    key = (message.msgctxt.text + " | " if message.msgctxt else "") + message.msgid.text
    return Entry(key, _source(message, index, forms), have.text if have and have.text else None, "\n".join(context),
                 None if index is None else str(index), fuzzy="fuzzy" in message.flags, line=(have or message.msgid).line)


def _source(message: Message, index: int | None, forms: list[frozenset[int]] | None) -> str:
    """The English text that a form translates. The singular may leave its number out ("One file"): it fits forms for 0 and 1 only."""
    assert message.msgid is not None
    one = message.msgid.text
    if index is None or message.msgid_plural is None:
        return one
    many = message.msgid_plural.text
    numbers = forms[index] if forms and index < len(forms) else frozenset([1] if index == 0 else [2])
    if 1 not in numbers:
        return many
    return one if numbers <= {0, 1} or len(_NUMBER.findall(one)) == len(_NUMBER.findall(many)) else many


def _plan(encoded: Encoded, slots: list[_Slot], targets: Mapping[int, Target]) -> list[Edit]:
    edits: list[Edit] = []
    by_message: dict[int, tuple[Message, dict[int | None, Target]]] = {}
    for index in sorted(targets):
        slot = slots[index]
        by_message.setdefault(id(slot.message), (slot.message, {}))[1][slot.index] = targets[index]
    for message, chosen in by_message.values():
        edits += _values(encoded, message, chosen)
        edits += _state(encoded, message, chosen)
    return edits


def _values(encoded: Encoded, message: Message, chosen: dict[int | None, Target]) -> list[Edit]:
    assert message.msgid is not None
    text, newline = encoded.text, encoded.newline
    long = "\n" in text[message.msgid.start:message.msgid.end]
    edits = []
    last = max(message.msgstr.values(), key=lambda one: one.end)
    for index, target in chosen.items():
        have = message.msgstr.get(index)
        value = quote(target.text, newline, long)
        if have is not None:
            edits.append(Edit(have.start, have.end, 0, value))
        else:
            edits.append(Edit(last.end, last.end, 1 + (index or 0), f"{newline}msgstr[{index}] {value}"))
    return edits


def _state(encoded: Encoded, message: Message, chosen: dict[int | None, Target]) -> list[Edit]:
    """Edits of flags and comments: `fuzzy` with the reasons, or neither once every form has a good text."""
    newline = encoded.newline
    reasons = list(dict.fromkeys(" ".join(target.review.split()) for target in chosen.values() if target.review))
    fuzzy = "fuzzy" in message.flags
    if not reasons and not (fuzzy and set(message.msgstr) <= set(chosen)):
        return []
    edits = [Edit(start, end, 0, "") for kind, text, start, end in message.comments
             if (kind == " " and text.startswith(_REVIEW)) or (not reasons and kind == "|")]
    top = min([message.start, *(start for _kind, _text, start, _end in message.comments)])
    edits += [Edit(top, top, -1, "".join(f"# {_REVIEW}{reason}{newline}" for reason in reasons))] if reasons else []
    flag_lines = [comment for comment in message.comments if comment[0] == ","]
    if reasons and not fuzzy:
        if flag_lines:
            at = encoded.text.index(",", flag_lines[0][2]) + 1
            edits.append(Edit(at, at, 0, " fuzzy,"))
        else:
            at = next((start for kind, _text, start, _end in message.comments if kind == "|"), message.start)
            edits.append(Edit(at, at, 0, f"#, fuzzy{newline}"))
    elif not reasons:
        edits += [_without_fuzzy(encoded.text, *comment[1:]) for comment in flag_lines if "fuzzy" in comment[1]]
    return edits


def _without_fuzzy(text: str, flags: str, start: int, end: int) -> Edit:
    kept = [flag.strip() for flag in flags.split(",") if flag.strip() not in ("", "fuzzy")]
    if not kept:
        return Edit(start, end, 0, "")
    body = text[start:end].rstrip("\r\n")
    return Edit(start, start + len(body), 0, "#, " + ", ".join(kept))
