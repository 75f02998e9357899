"""The head of a request that a client sends over and over, known again by its bytes: but for the length it need not be parsed twice."""

from __future__ import annotations

import re
from typing import NamedTuple

_LENGTH = re.compile(rb"\r\ncontent-length:[ \t]*(\d{1,4})(?=\r\n|$)", re.I)


class Head(NamedTuple):
    """What stands before and behind the length in a head."""

    before: bytes
    after: bytes

    def body(self, data: bytes) -> bytes | None:
        """The body of a request that is whole and has this head, with any length; None for any other."""
        before, after = self
        end = data.find(b"\r", len(before), len(before) + 5)
        length = data[len(before):end]
        if end < 0 or not (data.startswith(before) and length.isdigit() and data.startswith(after, end)):
            return None
        body = data[end + len(after):]
        return body if len(body) == int(length) else None


def head_of(data: bytes, size: int) -> Head | None:
    """The head of a request that came in one piece with a body of `size` bytes, up to four digits; None where it did not."""
    head, gap, body = data.partition(b"\r\n\r\n")
    found = _LENGTH.search(head)
    return Head(head[:found.start(1)], head[found.end(1):] + gap) if gap and found and len(body) == size else None
