"""The suite runs under harder laws than users do: warnings are errors, no network, a home of its own."""

from __future__ import annotations

import os
import socket

import pytest

# Before torch is loaded: threads that spin while they wait starve whatever else runs beside the tests.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


@pytest.fixture(autouse=True)
def own_home(tmp_path, monkeypatch):
    """The cache goes to a temporary folder and no test may reach another machine."""
    monkeypatch.setenv("UNDERSTUDY_HOME", str(tmp_path / "understudy-home"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    real = socket.socket.connect

    def connect(self, address):
        if self.family in (socket.AF_INET, socket.AF_INET6) and address[0] not in ("127.0.0.1", "::1", "localhost"):
            raise AssertionError(f"a test tried to reach {address}")
        return real(self, address)

    monkeypatch.setattr(socket.socket, "connect", connect)


@pytest.fixture(scope="session")
def made(tmp_path_factory):
    """(its folder, the result, what was heard) of a translator of a toy language, trained for a few seconds."""
    from toy_language import QUICK, write_pairs
    from understudy.recipes.text.train import train_text

    work = tmp_path_factory.mktemp("text")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("UNDERSTUDY_HOME", str(work / "home"))
        events = []
        result = train_text(write_pairs(work / "pairs.tsv"), "translate", out=work / "en-de", source="en", target="de", epochs=40, time_budget=60.0,
                            listen=events.append, **QUICK)
        yield work, result, events


@pytest.fixture(scope="session")
def careful(tmp_path_factory):
    """A bundle that is never sure enough: it asks the large model about every text."""
    from tiny_bundle import make_bundle

    return make_bundle(tmp_path_factory.mktemp("bundles") / "careful", threshold=1.1)


@pytest.fixture
def fake():
    """A large model of a test's own."""
    from fakellm import fake_llm

    with fake_llm() as one:
        yield one
