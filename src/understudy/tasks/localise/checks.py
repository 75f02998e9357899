"""What a translation lost, doubled or invented, in words."""

from __future__ import annotations

import html
import re
from collections import Counter
from dataclasses import dataclass

from .icu import Block, IcuError, blocks, is_icu
from .placeholders import BREAKING, Span, accelerator, find

_POSITION = re.compile(r"%(?:(\d+)\$)?([^%]*)")
_MARKUP_ENTITIES = {"&amp;", "&lt;", "&gt;", "&quot;", "&#38;", "&#60;", "&#62;"}
_ELLIPSIS = re.compile(r"(?:\.\.\.|…)$")
_COLON = re.compile(r"[:：]$")
_TAG_NAME = re.compile(r"<(/?)([\w:.-]+)")
_VOID = {"br", "hr", "img", "input", "wbr", "x", "ph", "bx", "ex", "sc", "ec", "cp"}
_DESTROYED = re.compile(r"[{｛]\s*\d+\s*[}｝]")


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong; `breaks` says that a program or page may fail by it."""

    text: str
    breaks: bool


def problems(source: str, target: str) -> list[str]:
    """What of `source` got lost in `target`, was doubled or invented, in words; empty where nothing is wrong."""
    return [finding.text for finding in findings(source, target)]


def findings(source: str, target: str) -> list[Finding]:
    """The same as `problems`, with how bad each is. The ones that break come first."""
    if not target.strip():
        return [Finding("the translation is empty", True)] if source.strip() else []
    out = _icu(source, target) if is_icu(source) or is_icu(target) else _plain(source, target)
    unique = list(dict.fromkeys(out))
    return sorted(unique, key=lambda finding: not finding.breaks)


def _plain(source: str, target: str) -> list[Finding]:
    have, got = find(source), find(target)
    out = _printf(have, got)
    for kind in ("brace", "reference", "tag", "icu", "url", "email"):
        out += _counts(_texts(have, kind), _texts(got, kind), kind in BREAKING)
    if not out:
        out += _nesting(have, got)
    return out + _entities(source, target, have, got) + _numbers(have, got) + _edges(source, target) + _accelerator(source, target)


def _texts(spans: list[Span], kind: str) -> Counter[str]:
    return Counter(re.sub(r"\s+", "" if kind == "brace" else " ", span.text) for span in spans if span.kind == kind)


def _counts(want: Counter[str], got: Counter[str], breaks: bool) -> list[Finding]:
    out = []
    for text in [*want, *(text for text in got if text not in want)]:
        before, after = want[text], got[text]
        if after < before:
            out.append(Finding(f"'{text}' got lost" if not after else f"'{text}' stands {after} times, not {before}", breaks))
        elif after > before and before:
            out.append(Finding(f"'{text}' is doubled: {after} times, not {before}", breaks))
        elif after > before:
            out.append(Finding(f"'{text}' was invented", breaks))
    return out


def _printf(have: list[Span], got: list[Span]) -> list[Finding]:
    """Compare by argument: `%s %d` may become `%2$d %1$s`, not `%d %s`."""
    want, mine = _texts(have, "printf"), _texts(got, "printf")
    before, after = _arguments(have), _arguments(got)
    if want == mine and before == after:
        return []
    if before == after and (len(before) or want["%%"] == mine["%%"]):
        return _counts(Counter({"%%": want["%%"]}), Counter({"%%": mine["%%"]}), True)
    if want == mine:
        order = ", ".join(span.text for span in have if span.kind == "printf" and span.text != "%%")
        return [Finding(f"the order of {order} changed: the values would be swapped", True)]
    return _counts(want, mine, True)


def _arguments(spans: list[Span]) -> list[tuple[str, str]]:
    """(argument, conversion) of every printf placeholder, sorted; those without a number count up."""
    out, place = [], 0
    for span in spans:
        if span.kind != "printf" or span.text == "%%":
            continue
        found = _POSITION.match(span.text)
        assert found is not None
        if found[1]:
            out.append((found[1], found[2]))
        elif span.text[1] == "(" or (not span.text[-1].isalpha() and span.text[-1] != "@"):
            out.append(("", span.text))
        else:
            place += 1
            out.append((str(place), found[2]))
    return sorted(out)


def _nesting(have: list[Span], got: list[Span]) -> list[Finding]:
    if _nested(have) and not _nested(got):
        return [Finding("tags are closed in the wrong order", True)]
    return []


def _nested(spans: list[Span]) -> bool:
    stack: list[str] = []
    for span in spans:
        found = _TAG_NAME.match(span.text) if span.kind == "tag" and not span.text.endswith("/>") else None
        if found is None or found[2].lower() in _VOID:
            continue
        if not found[1]:
            stack.append(found[2])
        elif not stack or stack.pop() != found[2]:
            return False
    return not stack


def _entities(source: str, target: str, have: list[Span], got: list[Span]) -> list[Finding]:
    want, mine = _texts(have, "entity"), _texts(got, "entity")
    out = []
    for text, count in want.items():
        if text in _MARKUP_ENTITIES:
            out += _counts(Counter({text: count}), Counter({text: mine[text]}), False)
        elif not mine[text] and html.unescape(text) not in target:
            out.append(Finding(f"'{text}' got lost", False))
    if not want and not any(span.kind == "tag" for span in have):
        out += [Finding(f"'{text}' was invented", False) for text in mine]
    return out


def _numbers(have: list[Span], got: list[Span]) -> list[Finding]:
    """Numbers by their digits: 1,000.5 and 1.000,5 are the same."""
    want = Counter({span.text: 0 for span in have if span.kind == "number"})
    before = Counter(_digits(span.text) for span in have if span.kind == "number")
    after = Counter(_digits(span.text) for span in got if span.kind == "number")
    if before == after or "".join(before.elements()) == "".join(after.elements()):
        return []
    shown = {_digits(text): text for text in want}
    named = [Finding(f"the number {shown[one]} got lost", False) for one in before if after[one] < before[one]]
    extra = [Finding(f"the number {one} was " + ("doubled" if before[one] else "invented"), False)
             for one in after if after[one] > before[one]]
    return named + extra


def _digits(text: str) -> str:
    return "".join(char for char in text if char.isdigit())


def _edges(source: str, target: str) -> list[Finding]:
    out = []
    lead, trail = source[:len(source) - len(source.lstrip())], source[len(source.rstrip()):]
    if target[:len(target) - len(target.lstrip())] != lead or target[len(target.rstrip()):] != trail:
        out.append(Finding("white space at the beginning or end differs", "\n" in lead + trail))
    if source.strip().count("\n") and not target.strip().count("\n"):
        out.append(Finding("the line breaks got lost", False))
    source, target = html.unescape(source).rstrip(), html.unescape(target).rstrip()
    for pattern, name in ((_ELLIPSIS, "an ellipsis"), (_COLON, "a colon")):
        ends = bool(pattern.search(source))
        if ends != bool(pattern.search(target)):
            out.append(Finding(f"the source ends with {name}, the translation does not" if ends else f"the translation ends with {name}, "
                               "the source does not", False))
    return out


def _accelerator(source: str, target: str) -> list[Finding]:
    before, after = accelerator(source), accelerator(target)
    if before is not None and (after is None or after[0] != before[0]):
        return [Finding(f"the keyboard accelerator '{before[0]}' got lost or doubled", False)]
    if before is None and after is not None and after[0] == "&":
        return [Finding(f"a keyboard accelerator '{after[0]}' was invented", False)]
    return []


def _icu(source: str, target: str) -> list[Finding]:
    try:
        want = blocks(source)
    except IcuError as error:
        return [Finding(f"the source is no message that can be read: {error}", True)]
    try:
        got = blocks(target)
    except IcuError as error:
        return [Finding(f"the message is broken: {error}", True)]
    named = {(block.argument, block.kind): block for block in want}
    found = {(block.argument, block.kind): block for block in got}
    out = [Finding(f"{{{name}, {kind}, …}} got lost", True) for name, kind in named if (name, kind) not in found]
    out += [Finding(f"{{{name}, {kind}, …}} was invented", True) for name, kind in found if (name, kind) not in named]
    if out or len(want) != len(got):
        return out or [Finding("a plural or select is doubled or got lost", True)]
    for key, block in named.items():
        out += _branches(source, block, target, found[key])
    return out + _plain(_outer(source, want), _outer(target, got))


def _branches(source: str, want: Block, target: str, got: Block) -> list[Finding]:
    texts = {branch.selector: source[branch.start:branch.end] for branch in want.branches}
    out = []
    # Languages differ in plural categories ("other" is all that every one has); select and "=0" are the program's own names.
    for selector in texts:
        if (want.kind == "select" or selector.startswith("=")) and not any(branch.selector == selector for branch in got.branches):
            out.append(Finding(f"the branch '{selector}' of {{{want.argument}, {want.kind}, …}} got lost", True))
    for branch in got.branches:
        if branch.selector not in texts and want.kind == "select":
            out.append(Finding(f"the branch '{branch.selector}' of {{{want.argument}, {want.kind}, …}} was invented", True))
        text = texts.get(branch.selector, texts["other"])
        mine = target[branch.start:branch.end]
        hash_lost = want.kind != "select" and "#" in text and "#" not in mine and branch.selector in ("other", "few", "many", "two")
        out += [Finding(f"'#' got lost in the branch '{branch.selector}'", True)] if hash_lost else []
        out += findings(text, mine)
    return out


def _outer(text: str, found: list[Block]) -> str:
    """The text around blocks, each as one brace of its argument, so that losing one shows."""
    pieces, at = [], 0
    for block in found:
        pieces += [text[at:block.start], f"{{{block.argument}, {block.kind}}}"]
        at = block.end
    return "".join([*pieces, text[at:]])
