"""Small requests that come together are answered together: each with its own answer, in order on its connection, as if it had come alone."""

from __future__ import annotations

import asyncio
import json
import re
import socket
import time
from types import SimpleNamespace

import pytest

from serving import QUESTION, server, sorting
from tiny_bundle import make_bundle
from understudy.serve import answers
from understudy.serve.call import Passed, Route
from understudy.serve.shortcut import Shortcut, Small

OTHER = "I would like my money back"


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    with sorting(tmp_path_factory.mktemp("served")) as running:
        yield running


def asking(served, body: bytes, *more: str, path: str = "/v1/classify") -> bytes:
    lines = [f"POST {path} HTTP/1.1", f"Host: 127.0.0.1:{served.port}", "Content-Type: application/json", f"Content-Length: {len(body)}", *more]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def one(sock: socket.socket) -> tuple[int, dict]:
    """The next answer on a connection."""
    return parts(whole(sock))[0]


def whole(sock: socket.socket) -> bytes:
    """The same as it was sent."""
    said = b""
    while (found := re.search(rb"content-length: (\d+)\r\n(?:.*\r\n)*?\r\n", said)) is None or len(said) < found.end() + int(found[1]):
        more = sock.recv(65536)
        assert more, said
        said += more
    return said


def parts(said: bytes) -> list[tuple[int, dict]]:
    """Status and JSON of each answer."""
    return [(int(part[:3]), json.loads(part.partition(b"\r\n\r\n")[2])) for part in said.split(b"HTTP/1.1 ")[1:]]


def test_forty_at_once_each_get_their_own(served):
    socks = [socket.create_connection(("127.0.0.1", served.port), timeout=5) for _ in range(40)]
    for turn in range(5):
        for number, sock in enumerate(socks):
            text = (QUESTION, OTHER)[number % 2]
            body = b"{" if number % 7 == 3 else json.dumps({"inputs": text, "model": "nobody" if number % 7 == 5 else "support"}).encode()
            sock.sendall(asking(served, body, f"X-Request-Id: {turn}-{number}"))
        for number, sock in enumerate(socks):
            status, said = one(sock)
            assert status == {3: 400, 5: 404}.get(number % 7, 200), said
            if status == 200:
                assert said["id"] == f"{turn}-{number}" and said["answers"][0]["label"] == ("card", "refund")[number % 2]
    for sock in socks:
        sock.close()


def test_alone_and_together_the_answer_is_the_same_to_the_last_digit(served):
    texts = [f"{QUESTION} {number} {OTHER}"[:12 + number] for number in range(60)]
    alone = [served.ask("/v1/classify", {"inputs": text, "top": 3})[2]["answers"] for text in texts]
    assert [[one] for one in served.ask("/v1/classify", {"inputs": texts, "top": 3})[2]["answers"]] == alone
    socks = [socket.create_connection(("127.0.0.1", served.port), timeout=5) for _ in texts]
    for sock, text in zip(socks, texts, strict=True):
        sock.sendall(asking(served, json.dumps({"inputs": text, "top": 3}).encode(), "Connection: close"))
    for sock, wanted in zip(socks, alone, strict=True):
        ((_, said),) = parts(b"".join(iter(lambda sock=sock: sock.recv(65536), b"")))
        assert said["answers"] == wanted
        sock.close()


def test_what_follows_a_wrong_one_on_its_connection_comes_after_it(served):
    fine, wrong = json.dumps({"inputs": QUESTION}).encode(), b'{"inputs": 7}'
    stream = asking(served, fine) + asking(served, wrong) + asking(served, fine) + asking(served, b"{") + asking(served, fine, path="/predict") + \
        asking(served, wrong, "Connection: close") + asking(served, fine)
    assert [status for status, _ in parts(served.raw(stream))] == [200, 400, 200, 400, 200, 400]


@pytest.mark.parametrize("body", [b"{", json.dumps({"inputs": QUESTION}).encode()])
def test_a_connection_that_is_to_be_closed_is_closed(served, body):
    began = time.monotonic()
    said = served.raw(asking(served, body, "Connection: close"))
    assert b"connection: close" in said.lower() and time.monotonic() - began < 3
    said = served.raw(asking(served, body) + asking(served, body, "Connection: close"))
    assert len(parts(said)) == 2 and said.lower().count(b"connection: close") == 1


def test_a_client_that_is_gone_before_its_answer_leaves_no_trace(served):
    body = json.dumps({"inputs": QUESTION}).encode()
    for _ in range(30):
        sock = socket.create_connection(("127.0.0.1", served.port))
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        sock.sendall(asking(served, body))
        sock.close()
    assert served.ask("/status")[2]["in_flight"] == 1 and served.ask("/v1/classify", {"inputs": QUESTION})[0] == 200


def test_figures_count_each_request_once(served):
    def counted() -> tuple[float, float, float]:
        page = served.ask("/metrics")[2].decode()
        lines = dict(line.rsplit(" ", 1) for line in page.splitlines() if not line.startswith("#"))
        return tuple(float(lines.get(name, 0)) for name in ('understudy_requests_total{route="/v1/classify",status="200"}', 'understudy_request_seconds_count{route="/v1/classify"}',
                                                           'understudy_request_seconds_bucket{le="0.005",route="/v1/classify"}'))

    before = counted()
    body = json.dumps({"inputs": QUESTION}).encode()
    socks = [socket.create_connection(("127.0.0.1", served.port), timeout=5) for _ in range(20)]
    for sock in socks:
        sock.sendall(asking(served, body))
    for sock in socks:
        assert sock.recv(65536).startswith(b"HTTP/1.1 200")
        sock.close()
    after = counted()
    assert after[0] - before[0] == after[1] - before[1] == 20 and 0 <= after[2] - before[2] <= 20


def test_a_full_line_is_said_alike_on_both_ways(served, tmp_path):
    """Texts that are too long to be answered at once stand in line; small bodies are refused on the short cut, large ones after it."""
    with server(tmp_path, make_bundle(tmp_path / "support"), flags=("--queue", "1", "--threads", "1", "--batch-tokens", "1")) as narrow:
        narrow.ask("/v1/classify", {"inputs": QUESTION})
        texts = [" ".join(f"word{number}{turn}" for turn in range(size)) for number in range(60) for size in (400, 2000)]
        socks = [socket.create_connection(("127.0.0.1", narrow.port), timeout=20) for _ in texts]
        for sock, text in zip(socks, texts, strict=True):
            sock.sendall(asking(narrow, json.dumps({"inputs": text}).encode()))
        refused: dict[bool, set[str]] = {True: set(), False: set()}
        for sock, text in zip(socks, texts, strict=True):
            said = sock.recv(65536)
            while b"}}" not in said and b"}]" not in said:
                said += sock.recv(65536)
            head, _, body = said.partition(b"\r\n\r\n")
            assert said[9:12] in (b"200", b"503")
            if said[9:12] == b"503":
                assert 1 <= int(re.search(rb"retry-after: (\d+)", head)[1]) <= 31
                refused[len(text) < 4000].add(f"{sorted(line.split(b':')[0] for line in head.lower().splitlines()[1:])} {body}")
            sock.close()
        assert refused[True] == refused[False] and len(refused[True]) == 1 and '"server_overloaded"' in str(refused), refused
        assert narrow.ask("/v1/classify", {"inputs": texts[0]})[0] == 200


def test_a_flood_of_refusals_is_counted_and_not_written_line_by_line(tmp_path):
    """All of them are in the figures; the log has a hundred a second one by one, with their ids, and says how many others there were."""
    with server(tmp_path, make_bundle(tmp_path / "support"), flags=("--queue", "1", "--threads", "1", "--batch-tokens", "1")) as narrow:
        narrow.ask("/v1/classify", {"inputs": QUESTION})
        body = json.dumps({"inputs": " ".join(f"word{turn}" for turn in range(450))}).encode()
        socks = [socket.create_connection(("127.0.0.1", narrow.port), timeout=20) for _ in range(60)]
        seen: list[tuple[bytes, bytes]] = []
        for turn in range(15):
            for number, sock in enumerate(socks):
                sock.sendall(asking(narrow, body, f"X-Request-Id: {turn}-{number}"))
            for sock in socks:
                said = whole(sock)
                seen.append((said[9:12], re.search(rb"x-request-id: (\S+)", said)[1]))
        for sock in socks:
            sock.close()
        assert sorted(number for _, number in seen) == sorted(f"{turn}-{number}".encode() for turn in range(15) for number in range(60))
        refused = [number.decode() for status, number in seen if status == b"503"]
        assert len(refused) > 300
        time.sleep(1.5)  # nobody asks any more, and what was counted is told all the same
        lines = narrow.lines()
        alone = [line["id"] for line in lines if line.get("status") == 503 and line["event"] == "request"]
        counted = [line for line in lines if line["event"] == "refused"]
        assert set(alone) <= set(refused) and len(alone) >= 100 and len(alone) + sum(line["count"] for line in counted) == len(refused)
        assert all(line["model"] == "support" and line["route"] == "/v1/classify" and line["code"] == "server_overloaded" for line in counted)
        page = narrow.ask("/metrics")[2].decode()
        assert f'understudy_requests_total{{route="/v1/classify",status="503"}} {len(refused)}.0' in page


def test_one_that_fails_takes_no_other_with_it(monkeypatch):
    """Whatever raises, and wherever: every request hears something, and what failed goes the whole way."""
    def trouble(*_: object) -> None:
        raise RuntimeError("trouble")

    version, told = SimpleNamespace(once=lambda: None, loaded=SimpleNamespace(id="x" * 64)), []
    broken = SimpleNamespace(once=trouble, loaded=version.loaded)
    app = SimpleNamespace(service=SimpleNamespace(config=SimpleNamespace(body=1000)), number=lambda given: "n", told=lambda *given: told.append(given))
    heard: dict[str, object] = {}

    def asked(call: object, body: str) -> object:
        if body == "read":
            trouble()
        return answers.Asked(SimpleNamespace(name="m"), broken if body == "model" else version, body, trouble if body == "write" else lambda said: said.label)

    monkeypatch.setattr(answers, "sorted_by", lambda its, texts: [answers.Sorted(text, text, 1.0, "r", [1.0]) for text in texts] if its is version else trouble())
    shortcut = Shortcut(app)
    passed = Passed(b"/x", [], Route("POST", "/x", trouble, "", str, str, at_once=asked), None, 1.0)
    shortcut._many = True
    monkeypatch.setattr(asyncio, "get_running_loop", lambda: SimpleNamespace(call_soon=lambda work: None))
    for name in ("fine", "read", "write", "model", "last"):
        shortcut.ask(Small(passed, None, json.dumps(name).encode(), lambda said, name=name: heard.__setitem__(name, said)))
    shortcut.flush()
    assert {name: said and (said[0], said[1].rpartition(b"\r\n")[2]) for name, said in heard.items()} == {
        "fine": (200, b'"fine"'), "read": None, "write": None, "model": None, "last": (200, b'"last"')} and len(told) == 2
