"""A budget of questions to the large model: never one more arrives, whoever asks at once, whenever the service is killed, whatever its file is."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import json
import logging
import os
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import openai
import pytest

from fakellm import FakeLlm, closed_port, fake_llm
from serving import QUESTION, Served, much, refused, server
from understudy.errors import UsageError
from understudy.serve.config import ServeConfig, from_environment, from_file
from understudy.serve.large.budget import Budget
from understudy.serve.large.client import Large
from understudy.serve.large.trouble import Trouble

KEY = "sk-canary-3310"


def flags(fake: FakeLlm, ledger: Path, budget: int) -> tuple[str, ...]:
    return ("--large", fake.url, "--large-model", "big", "--large-budget", str(budget), "--large-ledger", str(ledger))


def chat(text: str = "well", **more) -> dict:
    return {"model": "big", "messages": [{"role": "user", "content": text}], **more}


def outcome(served: Served, *, small: bool) -> str:
    """How one question ends, of a classifier that abstains or of a chat with the large model."""
    if small:
        status, _, said = served.ask("/v1/classify", {"inputs": QUESTION, "model": "careful"}, timeout=60)
        assert status == 200 and (said["answers"][0]["label"] is None) == (said["answers"][0]["handover"]["outcome"] != "answered")
        return said["answers"][0]["handover"]["outcome"]
    status, headers, said = served.ask("/v1/chat/completions", chat(), timeout=60)
    if status == 200:
        return "answered"
    if status == 429:
        assert said["error"]["code"] == "insufficient_quota" and headers["x-should-retry"] == "false" and "retry-after" not in headers
        return "budget"
    assert (status, said["error"]["code"]) == (503, "server_overloaded")
    return "busy"


def counted(ledger: Path) -> int:
    return int(ledger.read_text().split()[-1])


def test_five_hundred_at_once_and_a_budget_of_a_hundred(careful, fake, tmp_path):
    ledger = tmp_path / "ledger"
    with server(tmp_path, careful, flags=flags(fake, ledger, 100), environment={"UNDERSTUDY_LARGE_KEY": KEY}) as served:
        with ThreadPoolExecutor(500) as pool:
            said = list(pool.map(lambda number: outcome(served, small=number % 2 == 0), range(500)))
        assert set(said) <= {"answered", "budget", "busy"} and fake.asked == said.count("answered") <= 100
        while fake.asked < 100:
            assert outcome(served, small=True) == "answered"
        assert [outcome(served, small=small) for small in (True, False)] == ["budget"] * 2 and fake.asked == counted(ledger) == 100
        page = served.ask("/metrics")[2].decode()
        assert "understudy_large_budget_left 0.0" in page and 'understudy_large_requests_total{outcome="budget"}' in page
        large = served.ask("/status")[2]["large"]
        assert large == {"name": "big", "host": "127.0.0.1", "breaker": "closed", "asked": large["asked"], "answered": 100, "again": 0, "budget": 100, "left": 0}
        assert KEY not in json.dumps(served.ask("/status")[2]) and KEY not in page
        print(f"500 at once: {said.count('answered')} answered, {said.count('budget')} over the budget, {said.count('busy')} that did not wait")


def test_a_client_knows_the_error_and_a_stream_has_it_too(careful, fake, tmp_path):
    with server(tmp_path, careful, flags=flags(fake, tmp_path / "ledger", 5)) as served, openai.OpenAI(base_url=f"{served.address}/v1", api_key="none", max_retries=3) as client:
        assert client.chat.completions.create(**chat(), n=3).choices and served.ask("/status")[2]["large"]["left"] == 2  # every choice costs
        with pytest.raises(openai.RateLimitError):
            client.chat.completions.create(**chat(), n=3)
        assert list(client.chat.completions.create(**chat(), stream=True)) and client.chat.completions.create(**chat()).choices
        for stream in (False, True):
            with pytest.raises(openai.RateLimitError) as told:
                client.chat.completions.create(**chat(), stream=stream)
            assert told.value.code == "insufficient_quota"
        assert fake.asked == 3


def test_a_second_try_costs_and_what_never_arrives_does_not(careful, fake, tmp_path):
    ledger = tmp_path / "ledger"
    with server(tmp_path, careful, flags=flags(fake, ledger, 12)) as served:
        for _ in range(10):
            assert outcome(served, small=False) == "answered"
        assert served.ask("/v1/chat/completions", chat("fault=once-503"))[0] == 200 and fake.asked == counted(ledger) == 12
        assert outcome(served, small=False) == "budget"
    away = ("--large", f"http://127.0.0.1:{closed_port()}/v1", *flags(fake, tmp_path / "other", 3)[2:])
    with server(tmp_path, careful, flags=away) as served:
        assert [outcome(served, small=True) for _ in range(4)] == ["unreachable"] * 4 and counted(tmp_path / "other") == 0


def keep_asking(served: Served) -> None:
    """Asks until nobody answers any more, or an answer is cut off in its middle."""
    with contextlib.suppress(OSError, http.client.HTTPException, ValueError):
        while True:
            outcome(served, small=True)


def test_killed_at_any_moment_it_forgets_nothing(careful, tmp_path):
    """Three times; twenty with UNDERSTUDY_SOAK=1. More than the budget never arrives, over all of them together."""
    ledger, budget = tmp_path / "ledger", much(400, 60)
    with fake_llm() as fake:
        for moment in range(much(20, 3)):
            with server(tmp_path, careful, flags=flags(fake, ledger, budget)) as served:
                with ThreadPoolExecutor(6) as pool:
                    asking = [pool.submit(keep_asking, served) for _ in range(6)]
                    before, until = fake.asked, time.monotonic() + 10
                    while fake.asked < before + 5 + moment % 4 and time.monotonic() < until and fake.asked < budget:
                        time.sleep(0.001)
                    served.process.send_signal(signal.SIGKILL)
                    for one in asking:
                        one.result()
                served.process.wait()
            assert fake.asked <= counted(ledger) <= budget
        with server(tmp_path, careful, flags=flags(fake, ledger, budget)) as served:
            left = budget - counted(ledger)
            assert served.ask("/status")[2]["large"]["left"] == left
            assert [outcome(served, small=True) for _ in range(left + 2)] == ["answered"] * left + ["budget"] * 2
        assert fake.asked <= budget and counted(ledger) == budget
        print(f"budget {budget}, {fake.asked} arrived")


def test_two_servers_do_not_share_a_ledger(careful, fake, tmp_path):
    given = flags(fake, tmp_path / "ledger", 5)
    with server(tmp_path, careful, flags=given) as served:
        assert outcome(served, small=True) == "answered"
        assert "is another server's at this moment" in refused(str(careful), *given)["message"]
        assert outcome(served, small=True) == "answered" and counted(tmp_path / "ledger") == 2
        assert served.end() == 0
    with server(tmp_path, careful, flags=given) as served:
        assert served.ask("/status")[2]["large"]["left"] == 3


@pytest.mark.parametrize("damage", [
    b"", b"hello\n", b"understudy questions to the large model 2\n2026-01-01 000000000003\n", b"understudy questions to the large model 1\n2026-01-01 000000000003",
    b"understudy questions to the large model 1\n2026-01-01 -00000000003\n", b"understudy questions to the large model 1\n2026-01-01 000000000003\n" * 2, b"\0" * 63, b"x" * 5000,
])  # fmt: skip
def test_a_file_that_is_none_is_refused_and_left_as_it_is(tmp_path, damage):
    path = tmp_path / "ledger"
    path.write_bytes(damage)
    with pytest.raises(UsageError, match="is no ledger") as told:
        Budget(str(path), 5)
    assert told.value.hint and path.read_bytes() == damage
    path.write_bytes(b"understudy questions to the large model 1\n2026-01-01 000000000003\n")
    Budget(str(path), 5).close()  # whoever was refused let go of it


def test_a_place_where_nothing_can_be_written_is_refused(careful, tmp_path):
    for place in (tmp_path / "missing" / "ledger", tmp_path, Path("/dev/full")):
        with pytest.raises(UsageError, match="--large-ledger"):
            Budget(str(place), 5)
    told = refused(str(careful), "--large", "http://localhost:1/v1", "--large-model", "big", "--large-budget", "5", "--large-ledger", str(tmp_path / "missing" / "ledger"))
    assert "cannot be used" in told["message"] and not list(tmp_path.iterdir())


def test_where_it_cannot_count_nothing_is_sent_and_the_log_says_so(fake, tmp_path, caplog):
    """/dev/full is a disk that is full: the ledger's file is exchanged for it under a running service's hands."""
    budget = Budget(str(tmp_path / "ledger"), 5)
    large = Large(fake.url, "big", 5.0, KEY, budget=budget)

    async def ask() -> str:
        try:
            async with large.answering({"messages": [{"content": "well"}]}, time.monotonic() + 5):
                return "answered"
        except Trouble as trouble:
            assert (trouble.status, trouble.code) == (502, "upstream_error")
            return trouble.why

    async def main() -> list[str]:
        first, kept, full = await ask(), os.dup(budget._file), os.open("/dev/full", os.O_WRONLY)
        os.dup2(full, budget._file)
        os.close(full)
        then = [await ask() for _ in range(7)]
        os.dup2(kept, budget._file)
        os.close(kept)
        return [first, *then, await ask()]

    with caplog.at_level(logging.ERROR, "understudy.serve"):
        logging.getLogger("understudy").propagate = True
        assert asyncio.run(main()) == ["answered", *["uncounted"] * 7, "answered"] and fake.asked == 2 == counted(tmp_path / "ledger")
    assert "cannot be counted" in caplog.text and "No space left" in caplog.text and KEY not in caplog.text
    assert large.breaker.state == "closed" and budget.left == 3
    budget.close()


def test_a_day_begins_anew_and_a_clock_that_goes_back_gives_none_twice(tmp_path):
    day = ["2026-03-01"]
    budget = Budget(str(tmp_path / "ledger"), 3, lambda: day[0])
    for _ in range(3):
        budget.spend(1)
    with pytest.raises(Trouble):
        budget.spend(1)
    day[0] = "2026-03-02"
    assert budget.left == 3
    budget.spend(2)
    day[0] = "2026-03-01"
    assert budget.left == 1
    with pytest.raises(Trouble):
        budget.spend(2)
    budget.spend(1)
    assert (tmp_path / "ledger").read_text().endswith("2026-03-02 000000000003\n")
    budget.close()
    again = Budget(str(tmp_path / "ledger"), 5, lambda: "2026-03-02")
    assert again.left == 2
    again.close()


@pytest.mark.parametrize(("given", "words"), [
    ({"large_budget": 5}, "--large-ledger is not"), ({"large_ledger": "x"}, "--large-budget is not"), ({"large_budget": 0, "large_ledger": "x"}, "--large-budget is 0"),
])  # fmt: skip
def test_half_a_budget_is_refused(given, words):
    with pytest.raises(UsageError, match=words):
        ServeConfig(large="http://localhost:1/v1", large_model="big", **given)
    with pytest.raises(UsageError, match="--large is not"):
        ServeConfig(large_budget=5, large_ledger="x")


def test_its_dials_have_a_place_in_the_file_and_in_the_environment(tmp_path):
    (tmp_path / "fleet.toml").write_text('[serve]\nlarge_budget = 500\nlarge_ledger = "ledger"\n')
    assert from_file(tmp_path / "fleet.toml")[0] == {"large_budget": 500, "large_ledger": str(tmp_path / "ledger")}
    assert from_environment({"UNDERSTUDY_LARGE_BUDGET": "500", "UNDERSTUDY_LARGE_LEDGER": "x"}) == {"large_budget": 500, "large_ledger": "x"}


def test_without_a_budget_nothing_is_counted_and_without_a_large_model_nothing_is_said(careful, fake, tmp_path):
    with server(tmp_path, careful, flags=("--large", fake.url, "--large-model", "big")) as served:
        assert outcome(served, small=True) == "answered"
        large = served.ask("/status")[2]["large"]
        assert (large["budget"], large["left"], large["asked"], large["answered"]) == (None, None, 1, 1) and b"budget_left" not in served.ask("/metrics")[2]
    with server(tmp_path, careful) as served:
        assert served.ask("/status")[2]["large"] is None
