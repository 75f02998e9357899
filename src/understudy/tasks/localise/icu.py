"""ICU messages: `{n, plural, one {# file} other {# files}}` and `select`, taken apart into texts and put together again."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

MAX_DEPTH = 10
_MAYBE = re.compile(r"\{\s*[\w.-]+\s*,\s*(?:plural|select|selectordinal)\s*,")
_HEAD = re.compile(r"\{\s*([\w.-]{1,100})\s*,\s*(plural|selectordinal|select)\s*,\s*(?:offset\s*:\s*\d+\s*)?")
_SELECTOR = re.compile(r"\s*(=\d{1,9}|[\w-]{1,100})\s*(?=\{)")


class IcuError(ValueError):
    """A message whose braces or branches do not fit; caught where texts are checked and turned into a finding."""


@dataclass(frozen=True)
class Branch:
    """text[start:end] is the sub-message of `selector`, without its braces."""

    selector: str
    start: int
    end: int


@dataclass(frozen=True)
class Block:
    """text[start:end] is a plural or select on `argument`."""

    start: int
    end: int
    argument: str
    kind: str
    branches: tuple[Branch, ...]


@dataclass(frozen=True)
class Exploded:
    """The texts in a message (in the order they stand), and the way back: as many texts -> message."""

    leaves: tuple[str, ...]
    build: Callable[[list[str]], str]


def is_icu(text: str) -> bool:
    """Whether a text looks like it holds a plural or a select."""
    return _MAYBE.search(text) is not None


def blocks(text: str) -> list[Block]:
    """The outermost plurals and selects of a message. Raises IcuError where it cannot be read."""
    out, at = [], 0
    while at < len(text):
        at = _skip_quoted(text, at)
        if at >= len(text):
            break
        if text[at] == "{":
            block = _block(text, at)
            if block is not None:
                out.append(block)
            at = block.end if block is not None else _matching(text, at)
        elif text[at] == "}":
            raise IcuError(f"a '}}' too many at '{text[max(0, at - 10):at + 1]}'")
        else:
            at += 1
    return out


def explode(text: str) -> Exploded:
    """Take a message apart: each sub-message is a text of its own, what stands around a block holds `{icu0}` for it.

    `#` becomes `{#}` in the texts, so that it is kept like any argument. Raises IcuError where the message cannot be read.
    """
    leaves: list[str] = []
    names = _Names(_unused(text, "icu", ""), "{" + _unused(text, "#", "}") + "}")
    build = _visit(text, False, leaves, names, 0)
    return Exploded(tuple(leaves), build)


@dataclass(frozen=True)
class _Names:
    """How blocks and `#` are written in the texts: not as anything in the message is."""

    block: str
    hash: str


def _unused(text: str, name: str, end: str) -> str:
    while "{" + name + end in text:
        name += name[-1]
    return name


def _visit(text: str, counted: bool, leaves: list[str], names: _Names, depth: int) -> Callable[[list[str]], str]:
    if depth > MAX_DEPTH:
        raise IcuError(f"sub-messages nested more than {MAX_DEPTH} deep")
    found = blocks(text)
    pieces, inner, at = [], [], 0
    for number, block in enumerate(found):
        pieces.append(_hide(text[at:block.start], names.hash) if counted else text[at:block.start])
        pieces.append(f"{{{names.block}{number}}}")
        at = block.end
    pieces.append(_hide(text[at:], names.hash) if counted else text[at:])
    outer = "".join(pieces)
    place = None if len(found) == 1 and outer.strip() == f"{{{names.block}0}}" else len(leaves)
    if place is not None:
        leaves.append(outer)
    for block in found:
        parts, last = [], block.start
        for branch in block.branches:
            make = _visit(text[branch.start:branch.end], block.kind != "select" or counted, leaves, names, depth + 1)
            parts.append((text[last:branch.start], make))
            last = branch.end
        inner.append((parts, text[last:block.end]))

    def build(texts: list[str]) -> str:
        out = outer if place is None else _requote(texts[place], leaves[place])
        for number, (parts, tail) in enumerate(inner):
            out = out.replace(f"{{{names.block}{number}}}", "".join(head + make(texts) for head, make in parts) + tail, 1)
        return out.replace(names.hash, "#") if counted else out

    return build


def _requote(text: str, source: str) -> str:
    """An apostrophe before a brace would begin a quotation that the source does not have."""
    return text if "'{" in source or "'}" in source else re.sub(r"(?<!')'(?=[{}])", "''", text)


def _hide(text: str, name: str) -> str:
    """`#` outside braces and quotations as `name`."""
    out, at = [], 0
    while at < len(text):
        after = _skip_quoted(text, at)
        if after == at and text[at] == "{":
            after = _matching(text, at)
        if after > at:
            out.append(text[at:after])
            at = after
            continue
        out.append(name if text[at] == "#" else text[at])
        at += 1
    return "".join(out)


def _skip_quoted(text: str, at: int) -> int:
    """Behind a quotation that begins at `at` (`'{…'`, `''`), else `at`."""
    if text[at] != "'":
        return at
    if text[at + 1:at + 2] == "'":
        return at + 2
    if text[at + 1:at + 2] not in ("{", "}", "#", "|"):
        return at
    end = at + 1
    while end < len(text):
        if text[end] == "'":
            if text[end + 1:end + 2] != "'":
                return end + 1
            end += 1
        end += 1
    return end


def _matching(text: str, at: int) -> int:
    """Behind the brace that closes the one at `at`."""
    depth, start = 0, at
    while at < len(text):
        after = _skip_quoted(text, at)
        if after > at:
            at = after
            continue
        depth += (text[at] == "{") - (text[at] == "}")
        at += 1
        if depth == 0:
            return at
        if depth > 2 * MAX_DEPTH:
            raise IcuError(f"braces nested more than {2 * MAX_DEPTH} deep")
    raise IcuError(f"a '{{' that is not closed at '{text[start:start + 20]}'")


def _block(text: str, at: int) -> Block | None:
    head = _HEAD.match(text, at)
    if head is None:
        return None
    end, place, branches = _matching(text, at), head.end(), []
    while True:
        selector = _SELECTOR.match(text, place, end)
        if selector is None:
            break
        place = _matching(text, selector.end())
        branches.append(Branch(selector[1], selector.end() + 1, place - 1))
    if text[place:end].strip() != "}" or not branches:
        raise IcuError(f"{{{head[1]}, {head[2]}, …}} cannot be read at '{text[place:place + 20]}'")
    if not any(branch.selector == "other" for branch in branches):
        raise IcuError(f"{{{head[1]}, {head[2]}, …}} has no 'other'")
    return Block(at, end, head[1], head[2], tuple(branches))
