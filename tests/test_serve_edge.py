"""Requests that are wrong, too large, too many at once, too slow or hostile: each is answered in words, none with 500, none holds the server."""

from __future__ import annotations

import contextlib
import json
import socket
import time

import pytest

from serving import QUESTION, sorting
from understudy.errors import UsageError
from understudy.serve.body import DEPTH, too_deep
from understudy.serve.config import ServeConfig, from_environment, from_file

FAST = ("--header-timeout", "1s", "--body-timeout", "2s", "--stall-timeout", "2s", "--body", "100KB", "--connections", "200")


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    with sorting(tmp_path_factory.mktemp("served"), flags=FAST) as running:
        yield running


def head(served, path: str = "/v1/classify", *more: str, method: str = "POST") -> bytes:
    lines = [f"{method} {path} HTTP/1.1", f"Host: 127.0.0.1:{served.port}", "Content-Type: application/json", *more]
    return "\r\n".join(lines).encode() + b"\r\n\r\n"


def alive(served) -> bool:
    return served.ask("/v1/classify", {"inputs": QUESTION})[0] == 200


BODIES = {
    "NaN": b'{"inputs": "x", "top": NaN}', "Infinity": b'{"inputs": "x", "top": -Infinity}', "1e999": b'{"inputs": "x", "top": 1e999}', "empty": b"",
    "blank": b"  ", "null": b"null", "text": b'"x"', "list": b"[]", "number": b"7", "half": b'{"inputs": "x"', "more": b'{"inputs": "x"} {}', "bom": b'\xef\xbb\xbf{"inputs": "x"}',
    "utf16": '{"inputs": "x"}'.encode("utf-16"), "bad utf8": b'{"inputs": "\xff\xfe"}', "overlong": b'{"inputs": "\xc0\xaf"}', "cut utf8": b'{"inputs": "\xe2\x82"}',
    "surrogate": b'{"inputs": "\\ud800"}', "two surrogates": b'{"inputs": "\\udc00\\ud800"}', "digits": b'{"inputs": "x", "top": ' + b"9" * 5000 + b"}",
    "2^64": b'{"inputs": "x", "top": 18446744073709551616}', "minus": b'{"inputs": "x", "top": -1}', "float": b'{"inputs": "x", "top": 1.5}', "text number": b'{"inputs": "x", "top": "1"}',
    "true": b'{"inputs": "x", "top": true}', "comment": b'{"inputs": "x" /* no */}', "single": b"{'inputs': 'x'}", "deep": b"[" * 65, "deeper": b'{"inputs":' * 1000,
    "deepest": b'{"inputs": ' + b"[" * 90_000, "deep inside": b'{"inputs": ' + b"[" * 70 + b"]" * 70 + b"}", "wrong": b'{"inputs": {"a": 1}}', "mixed": b'{"inputs": ["x", 1]}',
    "unknown": b'{"inputs": "x", "api_base": "http://127.0.0.1:1"}', "no inputs": b"{}", "nothing": b'{"inputs": null}', "zero width": '{"inputs": ["\u2003"]}'.encode(),
}  # fmt: skip


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
def test_a_body_that_is_wrong_is_answered_with_400_and_never_repeated(served, body):
    began = time.perf_counter()
    status, headers, said = served.ask("/v1/classify", body)
    assert status == 400 and said["error"]["type"] == "invalid_request_error" and said["error"]["message"], said
    assert time.perf_counter() - began < 2 and headers["x-should-retry"] == "false" and "127.0.0.1:1" not in str(said)


ODD = ["a\x00b", "‍" * 1000, "e" + "\u0301" * 5000, "مرحبا بالعالم", "😀" * 5000, "\n" * 500 + "x", "x" * 90_000, "\u202e reversed", "\ufffd\uffff\U0010ffff", "'; DROP TABLE x; --"]


@pytest.mark.parametrize("text", ODD, ids=range(len(ODD)))
def test_odd_texts_are_texts(served, text):
    assert served.ask("/v1/classify", {"inputs": text})[0] == 200


def test_brackets_in_texts_do_not_count_as_depth(served):
    assert served.ask("/v1/classify", {"inputs": '[{"' * 2000})[0] == 200
    assert not too_deep(json.dumps({"a": "[" * 500, "b": ["\\\"[" * 50]}).encode())
    assert too_deep(b"[" * (DEPTH + 1)) and not too_deep(b"[" * DEPTH)


@pytest.mark.parametrize(("headers", "status"), [({"Content-Type": "text/plain"}, 415), ({"Content-Type": "application/x-www-form-urlencoded"}, 415),
                                                 ({"Content-Type": "application/json; charset=utf-8"}, 200), ({"Content-Encoding": "gzip"}, 415),
                                                 ({"Content-Encoding": "identity"}, 200), ({"X-Timeout-Ms": "abc"}, 400), ({"X-Timeout-Ms": "5000"}, 200)])
def test_what_a_body_may_be(served, headers, status):
    assert served.ask("/v1/classify", {"inputs": QUESTION}, headers=headers)[0] == status


def test_a_body_at_its_limit_is_taken_and_one_byte_more_is_not(served):
    frame = len(json.dumps({"inputs": ""}))
    assert served.ask("/v1/classify", {"inputs": "x" * (100_000 - frame)})[0] == 200
    assert served.ask("/v1/classify", {"inputs": "x" * (100_001 - frame)})[0] == 413
    chunk = b"%x\r\n%s\r\n" % (50_000, b" " * 50_000)
    assert served.raw(head(served, "/v1/classify", "Transfer-Encoding: chunked") + chunk * 3 + b"0\r\n\r\n").startswith(b"HTTP/1.1 413")
    for length, status in (("10000000000", b"413"), ("9" * 30, b"4"), ("-1", b"400"), ("abc", b"400"), ("1, 2", b"400")):
        assert served.raw(head(served, "/v1/classify", f"Content-Length: {length}"), wait=4).startswith(b"HTTP/1.1 " + status), length
    assert alive(served)


RAW = {
    "version": b"GET / HTTP/9.9\r\n\r\n", "no request": b"hello\r\n\r\n", "nul": b"GET /\0 HTTP/1.1\r\nHost: x\r\n\r\n", "tls": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" * 20,
    "two lengths": b"POST /v1/classify HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}",
    "length and chunks": b"POST /v1/classify HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "folded": b"GET /health HTTP/1.1\r\nHost: x\r\nA: b\r\n c\r\n\r\n", "space": b"GET /health HTTP/1.1\r\nHost : x\r\n\r\n",
    "absolute": b"GET http://evil.example/health HTTP/1.1\r\nHost: evil.example\r\n\r\n", "connect": b"CONNECT evil.example:80 HTTP/1.1\r\nHost: evil.example\r\n\r\n",
}  # fmt: skip


@pytest.mark.parametrize("data", RAW.values(), ids=RAW)
def test_what_is_no_proper_request_is_refused(served, data):
    assert served.raw(data, wait=4)[:12] in (b"HTTP/1.1 400", b"HTTP/1.1 421", b"HTTP/1.1 405", b"HTTP/1.1 404"), data
    assert alive(served)


@pytest.mark.parametrize("path", ["/", "//health", "/health/", "/v1/../health", "/%2e%2e/health", "/health;a=b", "/HEALTH", "/v1/models/", "/v1/models/a/b", "/v1/models/%00", "/v1/models/..%2f.."])
def test_paths_are_taken_as_they_are(served, path):
    assert served.raw(head(served, path, "Connection: close", method="GET")).startswith((b"HTTP/1.1 404", b"HTTP/1.1 200 OK\r\ndate") if path == "/" else b"HTTP/1.1 404")


def test_headers_and_paths_have_their_limits(served):
    assert served.raw(head(served, "/health", f"X-A: {'a' * 40_000}", method="GET")).startswith(b"HTTP/1.1 431")
    assert served.raw(head(served, "/health", *(f"X-{number}: a" for number in range(2000)), method="GET")).startswith(b"HTTP/1.1 431")
    assert served.raw(head(served, "/" + "a" * 16_000, method="GET")).startswith(b"HTTP/1.1 414")
    assert alive(served)


def test_a_body_in_too_many_pieces_is_refused(served):
    assert served.raw(head(served, "/v1/classify", "Transfer-Encoding: chunked") + b"1\r\nx\r\n" * 100_000, wait=8)[9:12] in (b"400", b"413")
    assert alive(served)


def test_pipelined_requests_are_answered_in_order(served):
    body = json.dumps({"inputs": QUESTION}).encode()
    one = head(served, "/v1/classify", f"Content-Length: {len(body)}") + body
    said = served.raw(one + head(served, "/health", method="GET") + one + head(served, "/nowhere", "Connection: close", method="GET"))
    assert [part.split()[0] for part in said.split(b"HTTP/1.1 ")[1:]] == [b"200", b"200", b"200", b"404"]


@pytest.mark.parametrize("padding", [0, 3900, 5000])
def test_an_answer_is_the_same_at_once_and_the_whole_way(served, padding):
    """A small request to a quick model takes a short cut; in two halves, with a page's origin or padded it may not, and is answered alike."""
    body = json.dumps({"inputs": QUESTION, "top": 3}).encode() + b" " * padding
    whole = head(served, "/v1/classify", f"Content-Length: {len(body)}", "X-Request-Id: same", "Connection: close") + body
    origin = head(served, "/v1/classify", f"Content-Length: {len(body)}", "X-Request-Id: same", "Connection: close", f"Origin: {served.address}") + body
    chunked = head(served, "/v1/classify", "Transfer-Encoding: chunked", "X-Request-Id: same", "Connection: close") + b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body)
    said = []
    for data in (whole, origin, chunked):
        answer = served.raw(data)
        top, _, told = answer.partition(b"\r\n\r\n")
        lines = sorted(line.split(b":")[0].lower() for line in top.split(b"\r\n")[1:])
        said.append((top.split(b"\r\n")[0], lines, {**json.loads(told), "milliseconds": 0}))
    assert said[0] == said[1] == said[2] and said[0][0] == b"HTTP/1.1 200 OK"
    with socket.create_connection(("127.0.0.1", served.port), timeout=5) as sock:
        sock.sendall(whole[:-5])
        time.sleep(0.1)
        sock.sendall(whole[-5:])
        assert sock.recv(100).startswith(b"HTTP/1.1 200")


def opened(served, first: bytes) -> socket.socket:
    sock = socket.create_connection(("127.0.0.1", served.port), timeout=10)
    sock.sendall(first)
    return sock


def test_slow_clients_are_let_go_and_hold_nobody_up(served):
    """Against times of a tenth; what 300 of them cost the others: test_serve_soak."""
    silent = [opened(served, b"") for _ in range(40)]
    half = [opened(served, b"GET /health HTTP/1.1\r\nHo") for _ in range(40)]
    drip = [opened(served, head(served, "/v1/classify", "Content-Length: 1000") + b"{") for _ in range(40)]
    began, times = time.monotonic(), []
    ended: dict[int, float] = {}
    while len(ended) < 120 and time.monotonic() - began < 6:
        before = time.perf_counter()
        assert alive(served)
        times.append(time.perf_counter() - before)
        for sock in (*drip, *half):
            with contextlib.suppress(OSError):
                sock.send(b"x")
        for number, sock in enumerate((*silent, *half, *drip)):
            if number not in ended and _closed(sock):
                ended[number] = time.monotonic() - began
        time.sleep(0.1)
    for sock in (*silent, *half, *drip):
        sock.close()
    assert len(ended) == 120
    assert all(0.7 < ended[number] < 2.5 for number in range(80)) and all(1.7 < ended[number] < 4 for number in range(80, 120)), sorted(ended.values())
    assert sorted(times)[len(times) // 2] < 0.2


def _closed(sock: socket.socket) -> bool:
    sock.setblocking(False)
    try:
        while data := sock.recv(4096):
            if b"HTTP/1.1 408" in data:
                return True
        return True
    except BlockingIOError:
        return False
    except OSError:
        return True


def test_one_connection_too_many_is_told_when_to_come_back(served):
    many = [opened(served, b"") for _ in range(200)]
    time.sleep(0.1)
    said = served.raw(head(served, "/health", method="GET"))
    for sock in many:
        sock.close()
    assert said.startswith(b"HTTP/1.1 503") and b"retry-after: 1" in said
    time.sleep(0.3)
    assert alive(served)


def test_a_dial_has_a_flag_a_twin_and_a_place_in_the_file(tmp_path):
    assert from_environment({"UNDERSTUDY_BODY": "5MB", "UNDERSTUDY_LOG_TEXT": "yes", "UNDERSTUDY_PORT": "80", "UNDERSTUDY_TIMEOUT": "2m"}) == {
        "body": 5_000_000, "log_text": True, "port": 80, "timeout": 120.0}
    (tmp_path / "fleet.toml").write_text('[serve]\nmemory = "1GB"\nslots = 2\nmodels = "all"\n[models.a]\npath = "x"\naliases = ["b"]\n')
    dials, models = from_file(tmp_path / "fleet.toml")
    assert dials == {"memory": 10**9, "slots": 2, "models": str(tmp_path / "all")} and models[0].path == tmp_path / "x" and models[0].aliases == ("b",)
    for text, words in (("[serve]\nx = 1", "no dial 'x'"), ("[other]", "a part 'other'"), ("[models.a]\npin = true", "names no path"), ("x", "no TOML"),
                        ('[models.a]\npath = "x"\npin = 3', "cannot have pin = 3"), ('[serve]\nport = "x"', "no whole number"), ('[serve]\nmemory = "x"', "is not a size")):
        (tmp_path / "fleet.toml").write_text(text)
        with pytest.raises(UsageError, match=words):
            from_file(tmp_path / "fleet.toml")
    for bad in ({"port": 70_000}, {"timeout": 0.0}, {"slots": 0}, {"body": 10}):
        with pytest.raises(UsageError, match="--"):
            ServeConfig(**bad)
