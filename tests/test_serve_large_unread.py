"""Chats with the large model whose clients read slowly or not at all: they cost the others nothing, and not a word of an answer is lost."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import socket
import time
from collections.abc import Iterator

import pytest

from fakellm import FakeLlm
from serving import Served, server
from understudy.serve.large.ahead import AHEAD, Ahead
from understudy.serve.large.client import AT_ONCE
from understudy.serve.large.trouble import Trouble


def chat(text: str, **more) -> dict:
    return {"model": "big", "messages": [{"role": "user", "content": text}], **more}


@contextlib.contextmanager
def not_reading(served: Served, fake: FakeLlm, text: str, count: int = AT_ONCE) -> Iterator[list[socket.socket]]:
    """Clients that ask for a stream, and read nothing of it before the block does."""
    body, before = json.dumps(chat(text, stream=True)).encode(), fake.asked
    with contextlib.ExitStack() as stack:
        socks = []
        for _ in range(count):
            sock = stack.enter_context(socket.socket())
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            sock.settimeout(10)
            sock.connect(("127.0.0.1", served.port))
            sock.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s" % (served.port, len(body), body))
            socks.append(sock)
        until = time.monotonic() + 5
        while fake.asked < before + count and time.monotonic() < until:
            time.sleep(0.01)
        yield socks


def asked(served: Served) -> float:
    """Seconds that a short question takes now."""
    began = time.perf_counter()
    status, _, said = served.ask("/v1/chat/completions", chat("well"), timeout=30)
    assert status == 200, said
    return time.perf_counter() - began


def test_an_answer_that_is_there_needs_no_slot_while_its_client_reads(careful, fake, tmp_path):
    """Longer than all that the kernel and the connection keep: without a place of its own it would hold the slot until it is read."""
    count = 350
    with server(tmp_path, careful, flags=("--large", fake.url, "--large-model", "big")) as served, not_reading(served, fake, f"fault=long@{count}") as socks:
        assert asked(served) < 5
        until = time.monotonic() + 5
        while fake.running and time.monotonic() < until:
            time.sleep(0.02)
        assert fake.running == 0
        for sock in socks:
            data = b""
            while b"data: [DONE]" not in data and (part := sock.recv(65536)):
                data += part
            places = [int(place) for place in re.findall(rb"q\d+w(\d+) ", data)]
            assert places == list(range(count)) and b'"error"' not in data


def test_one_who_does_not_read_is_let_go_and_the_next_is_asked(careful, fake, tmp_path):
    flags = ("--large", fake.url, "--large-model", "big", "--stall-timeout", "1s")
    with server(tmp_path, careful, flags=flags) as served, not_reading(served, fake, "fault=long@20000"):
        assert asked(served) < 6
        assert served.ask("/status")[2]["large"]["breaker"] == "closed"


def test_one_who_reads_drop_by_drop_holds_a_slot_no_longer_than_a_request_may_take(careful, fake, tmp_path):
    flags = ("--large", fake.url, "--large-model", "big", "--timeout", "3s")
    with server(tmp_path, careful, flags=flags) as served, not_reading(served, fake, "fault=long@20000") as socks:
        began = time.monotonic()
        while time.monotonic() < began + 3.5:
            for sock in socks:
                assert sock.recv(2000)
            time.sleep(0.05)
        assert asked(served) < 2 and served.ask("/status")[2]["large"]["breaker"] == "closed"


def test_no_more_is_kept_than_may_be():
    async def main() -> None:
        ahead, event = Ahead(0.05), b"x" * 1000
        for _ in range(AHEAD // 1000 + 1):
            await ahead.put(event, time.monotonic() + 5)
        with pytest.raises(Trouble) as told:
            await ahead.put(event, time.monotonic() + 5)
        assert told.value.why == "unread" and told.value.outage is None
        waiting = asyncio.ensure_future(ahead.put(b"last", time.monotonic() + 5))
        await asyncio.sleep(0)
        assert not waiting.done() and await ahead.next() == event and await ahead.next() == event
        await waiting
        ahead.end(Trouble("cut"))
        kept = []
        with pytest.raises(Trouble) as told:
            while (one := await ahead.next()) is not None:
                kept.append(one)
        assert told.value.why == "cut" and kept[-1] == b"last" and len(kept) == AHEAD // 1000

    asyncio.run(main())
