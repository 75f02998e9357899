"""A head that comes again is known by its bytes: the answers are those of a server that parses every request."""

from __future__ import annotations

import json
import random
import socket

import pytest

from serving import QUESTION, sorting
from test_serve_shortcut import OTHER, asking, one
from understudy.serve.again import Head, head_of


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    with sorting(tmp_path_factory.mktemp("served")) as running:
        yield running


def body(text: str, **more: object) -> bytes:
    return json.dumps({"inputs": text, **more}).encode()


def test_a_head_is_known_whatever_the_length_and_only_whole():
    data = b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nAccept: */*\r\n\r\nabc"
    head = head_of(data, 3)
    assert head == Head(b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: ", b"\r\nAccept: */*\r\n\r\n")
    assert head.body(data) == b"abc" and head.body(data.replace(b": 3", b": 12") + b"d" * 9) == b"abcddddddddd"
    for other in (data[:-1], data + b"d", data.replace(b"/x", b"/y"), data.replace(b": 3", b": x"), data.replace(b": 3", b": "), data.replace(b"*/*", b"*"),
                  data.replace(b": 3", b": 00003"), b"", data[:40]):
        assert head.body(other) is None, other
    assert head_of(data, 4) is None and head_of(data.replace(b"Content-Length", b"Length"), 3) is None
    assert head_of(b"POST / HTTP/1.1\r\nContent-Length: 0\r\n\r\n", 0).body(b"POST / HTTP/1.1\r\nContent-Length: 2\r\n\r\nab") == b"ab"


def test_every_kind_of_request_on_one_connection_gets_its_own_answer(served):
    """Alike and unlike heads in a random order, whole, in pieces and several in one: what is asked is answered, in order."""
    rng = random.Random(3)
    kinds = [(body(QUESTION), (), 200, "card"), (body(OTHER), (), 200, "refund"), (b"{", (), 400, None), (b"", (), 400, None), (body("x", model="nobody"), (), 404, None),
             (body(OTHER + " " * 5000), (), 200, "refund"), (body(QUESTION), ("X-Request-Id: mine",), 200, "card"), (body(OTHER), ("Accept: */*",), 200, "refund"),
             (json.dumps({"inputs": [QUESTION, OTHER]}).encode(), (), 200, "card")]
    with socket.create_connection(("127.0.0.1", served.port), timeout=5) as sock:
        for _ in range(150):
            some = [rng.choice(kinds) for _ in range(rng.choice((1, 1, 1, 2, 3)))]
            data = b"".join(asking(served, said, *more) for said, more, _, _ in some)
            cut = rng.randrange(len(data)) if rng.random() < 0.3 else len(data)
            sock.sendall(data[:cut])
            sock.sendall(data[cut:])
            for _, more, status, label in some:
                found, said = answered(sock)
                assert found == status and (label is None or said["answers"][0]["label"] == label), (some, said)
                assert not more or "Accept" in more[0] or said["id"] == "mine"


_left: dict[socket.socket, bytes] = {}


def answered(sock: socket.socket) -> tuple[int, dict]:
    """The next answer, also of several that came in one piece."""
    data = _left.pop(sock, b"")
    while True:
        head, gap, rest = data.partition(b"\r\n\r\n")
        if gap:
            size = int(next(line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")).split(b":")[1])
            if len(rest) >= size:
                _left[sock] = rest[size:]
                return int(head[9:12]), json.loads(rest[:size])
        more = sock.recv(65536)
        assert more, data
        data += more


def test_a_host_that_is_not_ours_is_refused_behind_one_that_is(served):
    with socket.create_connection(("127.0.0.1", served.port), timeout=5) as sock:
        for _ in range(3):
            sock.sendall(asking(served, body(QUESTION)))
            assert one(sock)[0] == 200
        sock.sendall(asking(served, body(QUESTION)).replace(b"127.0.0.1", b"evil.test"))
        assert one(sock)[0] == 421
