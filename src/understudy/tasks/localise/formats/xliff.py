"""XLIFF 1.2 (`trans-unit`) and 2.x (`unit`/`segment`): source and target side by side, inline tags kept as mark-up."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ....errors import DataError
from ..document import Document, Edit, Entry, Lines, Target
from ..xmlspans import Content, Node, content_objection, escape, read_content, read_xml, write_content

NAME = "XLIFF"
EXTENSIONS = (".xlf", ".xliff")
_WAITING = ("new", "needs-", "initial")


@dataclass(frozen=True)
class _Slot:
    holder: Node  # trans-unit or segment
    unit: Node  # trans-unit or unit: where notes go
    source: Node
    target: Node | None
    content: Content


def claims(head: str) -> bool:
    """Does text that begins so look like XLIFF?"""
    return "<xliff" in head or (":xliff" in head and "urn:oasis:names:tc:xliff" in head)


def parse(raw: bytes, name: str = "<bytes>") -> Document:
    """Entries of every `trans-unit` (1.x) or `segment` (2.x). Raises DataError for broken XML, a DTD, or another root."""
    encoded, root = read_xml(raw, name)
    text = encoded.text
    if root.local != "xliff":
        raise DataError(f"{name}: the root element is <{root.name}>, not <xliff>", hint="is this an XLIFF file?")
    slots, entries, lines = [], [], Lines(text)
    second = (root.attribute("version") or "").startswith("2")
    for holder, unit in _holders(root, second):
        source = holder.child("source")
        if source is None:
            raise DataError(f"{name}, line {lines.at(holder.start)}: <{holder.name}> has no <source>", hint="add it, or remove this unit")
        slot = _Slot(holder, unit, source, holder.child("target"), read_content(text, source))
        slots.append(slot)
        entries.append(_entry(text, slot, lines, second))

    def plan(targets: Mapping[int, Target]) -> list[Edit]:
        planner = _Planner(text, encoded.newline, second)
        for index in sorted(targets):
            planner.add(slots[index], targets[index])
        return planner.edits()

    return Document(name, NAME, encoded, entries, plan, lambda index, value: content_objection(value, slots[index].content),
                    bilingual=True, reviewable=True)


def _holders(root: Node, second: bool) -> list[tuple[Node, Node]]:
    if not second:
        return [(node, node) for node in root.walk() if node.local == "trans-unit"]
    return [(child, node) for node in root.walk() if node.local == "unit" for child in node.children if child.local == "segment"]


def _entry(text: str, slot: _Slot, lines: Lines, second: bool) -> Entry:
    target = read_content(text, slot.target).text if slot.target is not None else None
    state = ((slot.holder if second else slot.target or slot.holder).attribute("state") or "").lower()
    notes = [read_content(text, node).text.strip() for node in _notes(slot.unit)]
    segment = slot.holder.attribute("id") if second else None
    key = slot.unit.attribute("id") or slot.unit.attribute("resname") or ""
    return Entry(key + (f"/{segment}" if segment else ""), slot.content.text, target or None, "\n".join(note for note in notes if note),
                 translatable=_translatable(slot.holder), fuzzy=bool(target) and state.startswith(_WAITING),
                 markup=slot.content.markup, line=lines.at(slot.source.start))


def _notes(unit: Node) -> list[Node]:
    around = unit.child("notes")
    return [node for node in (around or unit).children if node.local == "note"]


def _translatable(node: Node | None) -> bool:
    while node is not None:
        said = node.attribute("translate")
        if said is not None:
            return said != "no"
        node = node.parent
    return True


class _Planner:
    def __init__(self, text: str, newline: str, second: bool) -> None:
        self._text, self._newline, self._second = text, newline, second
        self._edits: list[Edit] = []
        self._reasons: dict[int, tuple[Node, Node, list[str]]] = {}

    def add(self, slot: _Slot, target: Target) -> None:
        """Edits for one target: its value, its state, and the reason where there is one."""
        inner = write_content(target.text, slot.content, self._newline)
        state = self._state(slot, target)
        old = slot.target
        if old is None:
            after = slot.holder.child("seg-source") or slot.source
            attribute = f' state="{state}"' if state and not self._second else ""
            tag = slot.source.name.removesuffix("source") + "target"
            self._edits.append(Edit(after.end, after.end, 0, f"{self._break(after)}<{tag}{attribute}>{inner}</{tag}>"))
        elif old.empty:
            closing = self._text.rindex("/", old.start, old.end)
            self._edits.append(Edit(closing, old.end, 1, f">{inner}</{old.name}>"))
        else:
            self._edits.append(Edit(old.inner_start, old.inner_end, 0, inner))
        if state and self._second:
            self._set(slot.holder, "state", state)
        elif state and old is not None:
            self._set(old, "state", state)
        if target.review:
            if not self._second and slot.holder.attribute("approved") == "yes":
                self._set(slot.holder, "approved", "no")
            self._reasons.setdefault(slot.unit.start, (slot.unit, slot.holder, []))[2].append(target.review)

    def edits(self) -> list[Edit]:
        """All edits, with one note for every distinct reason that the unit does not hold yet."""
        for unit, holder, reasons in self._reasons.values():
            have = {read_content(self._text, note).text for note in _notes(unit)}
            fresh = [reason for reason in dict.fromkeys(reasons) if reason not in have]
            if fresh:
                self._edits.append(self._note(unit, holder, fresh))
        return self._edits

    def _state(self, slot: _Slot, target: Target) -> str | None:
        if self._second:
            return "initial" if target.review else "translated"
        if target.review:
            return "needs-review-translation"
        old = slot.target.attribute("state") if slot.target is not None else None
        return "translated" if old is not None and old.startswith(_WAITING) else None

    def _set(self, node: Node, name: str, value: str) -> None:
        span = node.attribute_span(name)
        if span is not None:
            self._edits.append(Edit(*span, 0, value))
        else:
            at = node.start + 1 + len(node.name)
            self._edits.append(Edit(at, at, 0, f' {name}="{value}"'))

    def _break(self, node: Node) -> str:
        """The line break and indentation before an element, or nothing where it follows something on its line."""
        start = self._text.rfind("\n", 0, node.start) + 1
        lead = self._text[start:node.start]
        return self._newline + lead if start and not lead.strip() else ""

    def _note(self, unit: Node, holder: Node, reasons: list[str]) -> Edit:
        prefix = holder.name.rpartition(":")[0]
        tag = f"{prefix}:note" if prefix else "note"
        escaped = [escape(" ".join(reason.split())) for reason in reasons]
        if not self._second:
            after = unit.child("target") or unit.child("seg-source") or unit.child("source") or unit
            step = self._break(after)
            return Edit(after.end, after.end, 2, "".join(f'{step}<{tag} from="understudy">{one}</{tag}>' for one in escaped))
        notes = unit.child("notes")
        text = "".join(f'<{tag} category="review">{one}</{tag}>' for one in escaped)
        if notes is not None and not notes.empty:
            last = notes.children[-1] if notes.children else None
            at = last.end if last is not None else notes.inner_start
            return Edit(at, at, 2, (self._break(last) if last is not None else "") + text)
        if notes is not None:
            return Edit(self._text.rindex("/", notes.start, notes.end), notes.end, 2, f">{text}</{notes.name}>")
        first = next(child for child in unit.children if child.local in ("originalData", "segment", "ignorable"))
        lead = self._break(first)
        return Edit(first.start, first.start, 0, f"<{tag}s>{text}</{tag}s>{lead}")
