"""Where the large model may be: the operator's own word counts, a name server's only so far, and no spelling hides an address."""

from __future__ import annotations

import asyncio
import json
import logging
import socket
import time

import pytest
import uvloop

from fakellm import fake_llm
from serving import QUESTION, refused, server
from tiny_bundle import make_bundle
from understudy.errors import UsageError
from understudy.serve.config import ServeConfig, from_environment
from understudy.serve.large.client import Large
from understudy.serve.large.trouble import Trouble
from understudy.serve.places import forbidden

KEY = "sk-canary-7761"
METADATA = ("169.254.169.254", "169.254.0.1", "[fe80::1]", "[fe80::1%25lo]", "[fd00:ec2::254]", "[::ffff:169.254.169.254]", "[::ffff:a9fe:a9fe]", "[64:ff9b::a9fe:a9fe]",
            "[::169.254.169.254]", "[2002:a9fe:a9fe::1]", "100.100.100.200", "192.0.0.192", "0.0.0.0", "[::]", "224.0.0.1", "[ff02::1]", "255.255.255.255")
SPELLED = ("2852039166", "0xa9fea9fe", "0251.0376.0251.0376", "169.254.43518", "0xa9.254.169.254", "169.16689662", "169.254.169.254.", "127.1", "0x7f.1", "017700000001", "127.0.0.1.")
FINE = ("127.0.0.1", "127.9.9.9", "[::1]", "[::ffff:127.0.0.1]", "localhost", "LOCALHOST", "10.0.0.5", "192.168.1.20", "172.16.3.4", "[fd12::7]", "8.8.8.8", "llm.example.org", "169-254.example", "9.example")


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return make_bundle(tmp_path_factory.mktemp("bundles") / "careful", threshold=1.1)


@pytest.mark.parametrize("private", [False, True])
@pytest.mark.parametrize("host", [*METADATA, *SPELLED])
def test_what_is_never_asked_is_refused_before_it_serves(host, private):
    with pytest.raises(UsageError, match=r"--large (names an address that|spells an address)") as told:
        ServeConfig(large=f"http://{host}:8080/v1", large_model="big", large_private=private)
    assert told.value.hint


@pytest.mark.parametrize("host", FINE)
def test_what_the_operator_names_openly_is_taken(host):
    assert ServeConfig(large=f"http://{host}:8080/v1", large_model="big").large


def test_the_command_says_it_in_a_sentence(bundle):
    told = refused(str(bundle), "--large", "http://169.254.169.254/v1", "--large-model", "big", environment={"UNDERSTUDY_LARGE_KEY": KEY})
    assert "--large names an address" in told["message"] and KEY not in json.dumps(told)
    assert "--large is not" in refused(str(bundle), "--large-private")["message"]
    assert from_environment({"UNDERSTUDY_LARGE_PRIVATE": "yes"}) == {"large_private": True}


@pytest.mark.parametrize(("host", "reached", "private", "may"), [
    ("llm.example.org", "8.8.8.8", False, True), ("llm.example.org", "2606:4700::1", False, True),
    *[("llm.example.org", inside, private, private) for private in (False, True) for inside in
      ("127.0.0.1", "::1", "10.1.2.3", "192.168.0.1", "172.31.0.1", "fd00::1", "::ffff:10.0.0.1", "64:ff9b::a00:1", "100.64.0.1")],
    *[(host, never, True, False) for host in ("llm.example.org", "localhost", "10.0.0.5") for never in
      ("169.254.169.254", "::ffff:169.254.169.254", "fe80::1", "fe80::1%eth0", "fd00:ec2::254", "0.0.0.0", "::", "224.0.0.1", "ff02::1", "255.255.255.255")],
    ("localhost", "127.0.0.1", False, True), ("Localhost", "::1", False, True), ("localhost", "10.0.0.1", False, False), ("localhost", "8.8.8.8", True, False),
    ("localhost.", "127.0.0.1", False, False), ("a.localhost", "127.0.0.1", False, False), ("10.0.0.5", "10.0.0.5", False, True), ("127.0.0.1", "127.0.0.1", False, True),
])  # fmt: skip
def test_where_a_host_may_lead(host, reached, private, may):
    assert (forbidden(host, reached, private) is None) == may


def ended(monkeypatch, fake, answers: list[list[str]], *, private: bool = False, host: str = "llm.example.org", peer: str | None = None) -> list[str]:
    """How a question ends for each set of addresses that a name server answers with, one after the other, on the service's own event loop."""
    said = iter(answers)

    async def main() -> list[str]:
        loop, outcomes = asyncio.get_running_loop(), []

        async def named(host, port, **more):
            return [(socket.AF_INET6 if ":" in one else socket.AF_INET, socket.SOCK_STREAM, 6, "", (one, port)) for one in next(said)]

        class Loop:  # uvloop's own cannot be changed
            getaddrinfo = staticmethod(named)

            def __getattr__(self, name):
                return getattr(loop, name)

        monkeypatch.setattr("understudy.serve.large.wire.asyncio.get_running_loop", lambda: Loop())
        if peer is not None:
            monkeypatch.setattr(socket.socket, "getpeername", lambda self: (peer, 1))
        large = Large(f"http://{host}:{fake.port}/v1", "big", 5.0, KEY, private=private)
        for _ in answers:
            try:
                async with large.answering({"messages": [{"content": "well"}]}, time.monotonic() + 5):
                    outcomes.append("answered")
            except Trouble as trouble:
                assert trouble.why == "answered" or (trouble.status, trouble.code) == (502, "upstream_error")
                outcomes.append(trouble.why)
        assert large.breaker.state == "closed"
        return outcomes

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(main())


def test_a_name_that_leads_inside_gets_no_connection_and_no_key(monkeypatch, caplog):
    with fake_llm() as fake, caplog.at_level(logging.WARNING, "understudy.serve"):
        logging.getLogger("understudy").propagate = True
        assert ended(monkeypatch, fake, [["127.0.0.1"], ["8.8.8.8", "127.0.0.1"]]) == ["elsewhere"] * 2
        assert fake.asked == 0 and fake.met == 0 and not fake.authorization
    assert "llm.example.org leads to 127.0.0.1" in caplog.text and "--large-private" in caplog.text and KEY not in caplog.text


def test_with_large_private_it_is_asked_and_metadata_still_is_not(monkeypatch):
    with fake_llm() as fake:
        assert ended(monkeypatch, fake, [["127.0.0.1"], ["169.254.169.254"], ["127.0.0.1", "169.254.169.254"], ["127.0.0.1"]], private=True) == ["answered", "elsewhere", "elsewhere", "answered"]
        assert fake.asked == 2 and fake.authorization == f"Bearer {KEY}"


def test_who_is_really_there_is_looked_at_before_a_byte_is_sent(monkeypatch):
    with fake_llm() as fake:
        assert ended(monkeypatch, fake, [["127.0.0.1"]] * 3, private=True, peer="169.254.169.254") == ["elsewhere"] * 3
        until = time.monotonic() + 5
        while fake.met < 3 and time.monotonic() < until:
            time.sleep(0.01)
        time.sleep(0.05)  # its side of the connections ends too
        assert (fake.met, fake.asked, fake.authorization) == (3, 0, "")


def test_localhost_may_only_be_this_machine(monkeypatch):
    with fake_llm() as fake:
        assert ended(monkeypatch, fake, [["127.0.0.1"], ["10.0.0.1"]], host="localhost") == ["answered", "elsewhere"] and fake.asked == 1


def own_name() -> str | None:
    """A name other than localhost that this machine's own table leads to loopback."""
    for name in (socket.gethostname(), "ip4-loopback", "localhost.localdomain"):
        try:
            if name.lower() != "localhost" and {one[4][0] for one in socket.getaddrinfo(name, 1, type=socket.SOCK_STREAM)} == {"127.0.0.1"}:
                return name
        except OSError:
            pass
    return None


@pytest.mark.skipif(own_name() is None, reason="no name other than localhost leads to 127.0.0.1 here")
@pytest.mark.parametrize("private", [False, True])
def test_the_service_answers_as_when_nobody_is_there_and_tells_the_operator(bundle, tmp_path, private):
    with fake_llm() as fake:
        url, flags = f"http://{own_name()}:{fake.port}/v1", ("--large-private",) if private else ()
        with server(tmp_path, bundle, flags=("--large", url, "--large-model", "big", *flags), environment={"UNDERSTUDY_LARGE_KEY": KEY}) as served:
            status, _, said = served.ask("/v1/classify", {"inputs": QUESTION, "model": "careful"})
            answer = said["answers"][0]
            assert status == 200 and answer["label"] == ("card" if private else None) and answer["handover"]["outcome"] == ("answered" if private else "elsewhere")
            status, _, said = served.ask("/v1/chat/completions", {"model": "big", "messages": [{"role": "user", "content": "x"}]})
            assert status == (200 if private else 502) and (private or said["error"]["code"] == "upstream_error")
            assert (fake.asked, fake.met) == ((2, 2) if private else (0, 0))
            lines = [line for line in served.lines() if "--large-private" in line.get("event", "")]
            assert len(lines) == (0 if private else 2) and KEY not in served.log.read_text("utf-8")
