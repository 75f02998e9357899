"""What llama.cpp streams, read as it comes: whatever the network cuts it into, nothing is lost, doubled or waited for."""

from __future__ import annotations

import io
import json
import random
import socket
import time

import pytest

from understudy.run.generate import wire
from understudy.run.generate.native import Events, NativeError
from understudy.run.generate.worker import Worker


def chunked(*parts: bytes) -> bytes:
    """A body in chunks, with its end."""
    return b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in (*parts, b""))


def event(number: int) -> bytes:
    return b"data: " + json.dumps({"content": f"é {number} \n", "tokens": [number]}, ensure_ascii=False).encode() + b"\n\n"


@pytest.fixture
def line():
    ours, theirs = socket.socketpair()
    with ours, theirs, ours.makefile("rb") as body:
        yield Events(ours, body), theirs


def all_of(events: Events) -> list[dict]:
    said: list[dict] = []
    while (some := events.next()) is not None:
        said += some
    return said


@pytest.mark.parametrize("seed", range(20))
def test_every_event_comes_once_whatever_the_cuts(line, seed):
    events, theirs = line
    rng = random.Random(seed)
    told = [event(number) for number in range(30)]
    together = [b"".join(told[at:at + 3]) for at in range(0, 30, 3)] if seed % 2 else told
    data = chunked(*together)
    said: list[dict] = []
    while data:
        size = rng.randint(1, 200)
        theirs.sendall(data[:size])
        data = data[size:]
        said += events.next() or []
    said += all_of(events)
    assert [one["tokens"] for one in said] == [[number] for number in range(30)] and said[7]["content"] == "é 7 \n"
    assert events.next() is None and events.next(0.0) is None


def test_what_is_there_comes_together_and_nothing_is_waited_for(line):
    events, theirs = line
    theirs.sendall(chunked(event(1), event(2))[:-5])
    assert len(events.next() or []) == 2
    began = time.perf_counter()
    assert events.next(0.05) == [] and 0.04 < time.perf_counter() - began < 5
    theirs.sendall(b"0\r\n\r\n")
    assert events.next(5.0) == [] and events.next(5.0) is None


def test_an_error_is_raised_and_an_early_end_is_an_end(line):
    events, theirs = line
    theirs.sendall(chunked(event(1))[:-5])
    assert len(events.next() or []) == 1
    theirs.sendall(chunked(b'error: {"message": "no", "type": "x"}\n\n'))
    with pytest.raises(NativeError, match="no"):
        events.next()
    other, theirs = socket.socketpair()
    with other, theirs, other.makefile("rb") as body:
        events = Events(other, body)
        theirs.sendall(b"40\r\ndata: {")
        theirs.close()
        assert all_of(events) == []


def test_a_frame_that_is_too_long_takes_no_other_with_it(monkeypatch):
    monkeypatch.setattr(wire, "LONGEST", 100)
    out = io.BytesIO()
    worker = Worker(io.BytesIO(), out)
    small = [{"id": number, "event": "piece", "text": "a"} for number in range(3)]
    worker._waiting.append(wire.framed(small[0]))  # another job's, which waits to be written
    with pytest.raises(wire.EngineError, match="a message of"):
        worker.send({"id": 9, "event": "done", "text": "x" * 200})
    for one in small[1:]:
        worker.send(one)
    out.seek(0)
    assert [wire.read_frame(out) for _ in range(4)] == [*small, None]
