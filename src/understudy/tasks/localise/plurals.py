"""The `Plural-Forms` header of a PO file: how many forms the target language has, and which numbers each is for."""

from __future__ import annotations

import re
from collections.abc import Callable

from ...errors import DataError

MAX_FORMS = 6
_HEADER = re.compile(r"nplurals\s*=\s*(\d{1,3})\s*;\s*plural\s*=\s*([^;\n]{1,600})")
_TOKEN = re.compile(r"\s*(?:(\d{1,9})|(n)|(\|\||&&|[=!<>]=|[-+*/%<>!?:()]))")
_LEVELS = (("||",), ("&&",), ("==", "!="), ("<", ">", "<=", ">="), ("+", "-"), ("*", "/", "%"))
_SAMPLE = range(200)
_MAX_TOKENS = 200


def plural_forms(header: str, name: str) -> list[frozenset[int]] | None:
    """For every form the numbers 0…199 it is for; None where the header says nothing (or still is the template's).

    Raises DataError for an expression that cannot be read, that divides by zero, or that gives a form that there is not.
    """
    found = _HEADER.search(header)
    if found is None:
        return None
    count = int(found[1])
    if not 1 <= count <= MAX_FORMS:
        raise DataError(f"{name}: its header says nplurals={count}", hint=f"languages have 1 to {MAX_FORMS} plural forms")
    forms: list[set[int]] = [set() for _ in range(count)]
    formula = _Formula(found[2], name)
    for number in _SAMPLE:
        form = formula.value(number)
        if not 0 <= form < count:
            raise DataError(f"{name}: its header has {count} plural forms, but its formula gives form {form} for {number}",
                            hint="correct Plural-Forms in the header")
        forms[form].add(number)
    return [frozenset(form) for form in forms]


class _Formula:
    """A C expression in `n`, read by descent over a bounded number of tokens."""

    def __init__(self, text: str, name: str) -> None:
        self._name, self._text, self._at = name, text.strip(), 0
        self._tokens = self._split()
        self._run = self._condition()
        if self._at < len(self._tokens):
            raise self._error()

    def value(self, number: int) -> int:
        """The form for a number."""
        try:
            return int(self._run(number))
        except ZeroDivisionError as error:
            raise DataError(f"{self._name}: its plural formula '{self._text}' divides by zero",
                            hint="correct Plural-Forms in the header") from error

    def _split(self) -> list[str]:
        out: list[str] = []
        at = 0
        while at < len(self._text):
            found = _TOKEN.match(self._text, at)
            if found is None or len(out) >= _MAX_TOKENS:
                raise self._error()
            out.append(found[found.lastindex or 0])
            at = found.end()
        return out

    def _error(self) -> DataError:
        return DataError(f"{self._name}: its plural formula '{self._text}' cannot be read", hint="correct Plural-Forms in the header")

    def _take(self, *wanted: str) -> str | None:
        if self._at < len(self._tokens) and self._tokens[self._at] in wanted:
            self._at += 1
            return self._tokens[self._at - 1]
        return None

    def _condition(self) -> Callable[[int], int]:
        test = self._binary(0)
        if not self._take("?"):
            return test
        yes = self._condition()
        if not self._take(":"):
            raise self._error()
        no = self._condition()
        return lambda n: yes(n) if test(n) else no(n)

    def _binary(self, level: int) -> Callable[[int], int]:
        if level == len(_LEVELS):
            return self._unary()
        left = self._binary(level + 1)
        while operator := self._take(*_LEVELS[level]):
            left = _apply(operator, left, self._binary(level + 1))
        return left

    def _unary(self) -> Callable[[int], int]:
        if self._take("!"):
            inner = self._unary()
            return lambda n: int(not inner(n))
        if self._take("("):
            inner = self._condition()
            if not self._take(")"):
                raise self._error()
            return inner
        if self._take("n"):
            return lambda n: n
        if self._at < len(self._tokens) and self._tokens[self._at].isdigit():
            self._at += 1
            number = int(self._tokens[self._at - 1])
            return lambda _n: number
        raise self._error()


_OPERATORS: dict[str, Callable[[int, int], int]] = {
    "==": lambda a, b: int(a == b), "!=": lambda a, b: int(a != b), "<": lambda a, b: int(a < b), ">": lambda a, b: int(a > b),
    "<=": lambda a, b: int(a <= b), ">=": lambda a, b: int(a >= b), "+": lambda a, b: a + b, "-": lambda a, b: a - b,
    "*": lambda a, b: a * b, "/": lambda a, b: a // b, "%": lambda a, b: a % b,
}


def _apply(operator: str, left: Callable[[int], int], right: Callable[[int], int]) -> Callable[[int], int]:
    if operator == "||":
        return lambda n: int(bool(left(n) or right(n)))
    if operator == "&&":
        return lambda n: int(bool(left(n) and right(n)))
    function = _OPERATORS[operator]
    return lambda n: function(left(n), right(n))
