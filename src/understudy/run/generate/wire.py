"""Frames between the caller's process and the worker: four bytes of length, then JSON. And the errors both sides speak of."""

from __future__ import annotations

import json
import struct
from typing import Any, BinaryIO

from ...errors import UnderstudyError

LONGEST = 64 << 20
_LENGTH = struct.Struct(">I")
CODE = struct.Struct("=i")
"""How a forked worker ended, as the forkserver writes it: exit status, or a signal negated."""
SHORT = 256
"""Bytes that a message to or from the forkserver may have."""


class EngineError(UnderstudyError):
    """The worker that runs the model ended, hangs, or could not do what was asked; the next request gets a new worker."""


def framed(message: dict[str, Any]) -> bytes:
    """One message as a frame. Raises EngineError for one that is too long."""
    data = json.dumps(message, ensure_ascii=True, separators=(",", ":")).encode("ascii")
    if len(data) > LONGEST:
        raise EngineError(f"a message of {len(data)} bytes", hint=f"at most {LONGEST}")
    return _LENGTH.pack(len(data)) + data


def write_frame(stream: BinaryIO, message: dict[str, Any]) -> None:
    """Writes one message and flushes. Raises EngineError for one that is too long, OSError for a closed pipe."""
    stream.write(framed(message))
    stream.flush()


def read_frame(stream: BinaryIO) -> dict[str, Any] | None:
    """Reads one message; None at the end of the stream, also where it ends inside a message."""
    head = stream.read(_LENGTH.size)
    if len(head) < _LENGTH.size:
        return None
    (length,) = _LENGTH.unpack(head)
    if length > LONGEST:
        return None
    data = stream.read(length)
    if len(data) < length:
        return None
    message = json.loads(data)
    return message if isinstance(message, dict) else None
