"""The line before a model: bounded exactly, fair between models, nobody waits for company, and what is late or left is not worked on."""

from __future__ import annotations

import asyncio
import threading
import time

import pytest

from understudy.errors import BusyError, DeadlineError, UsageError
from understudy.fleet.entry import Entry, Version
from understudy.fleet.pool import Job, Lane, Pool
from understudy.fleet.writers import Writers


class Gate:
    """A model that answers when it is let, and remembers what it was asked."""

    def __init__(self, opened: bool = True) -> None:
        self.open, self.asked, self.began = threading.Event(), list[list[str]](), threading.Event()
        if opened:
            self.open.set()

    def __call__(self, texts: list[str]) -> list[str]:
        self.asked.append(list(texts))
        self.began.set()
        assert self.open.wait(5)
        if any("bad" in text for text in texts):
            raise UsageError("a bad text")
        return [text.upper() for text in texts]


def job(gate: Gate, *texts: str, seconds: float = 5.0, key: str = "k") -> Job:
    return Job(list(texts), gate, key, time.monotonic() + seconds, asyncio.get_running_loop().create_future())


def run(work) -> None:
    async def main() -> None:
        pool = Pool(2)
        try:
            await work(pool)
        finally:
            pool.close()

    asyncio.run(main())


def test_a_lone_request_does_not_wait_for_company():
    async def work(pool):
        gate, lane = Gate(), Lane(4, 100)
        times = []
        for _ in range(50):
            began = time.perf_counter()
            one = job(gate, "x")
            pool.submit(lane, one)
            assert await one.future == ["X"]
            times.append(time.perf_counter() - began)
        assert sorted(times)[25] < 0.01 and gate.asked == [["x"]] * 50

    run(work)


def test_what_waits_is_answered_together_within_the_budget_and_each_gets_its_own():
    async def work(pool):
        gate, lane = Gate(opened=False), Lane(100, 10)
        jobs = [job(gate, f"t{number}", f"u{number}") for number in range(12)]
        for one in jobs:
            pool.submit(lane, one)
        await asyncio.sleep(0.05)
        gate.open.set()
        assert [await one.future for one in jobs] == [[f"T{number}", f"U{number}"] for number in range(12)]
        assert gate.asked[:2] == [["t0", "u0"], ["t1", "u1"]] and 10 in map(len, gate.asked) and max(map(len, gate.asked)) <= 10

    run(work)


def test_a_job_larger_than_the_budget_goes_in_pieces_and_comes_back_in_order():
    async def work(pool):
        gate, lane = Gate(), Lane(100, 8)
        one = job(gate, *(f"text number {number}" for number in range(100)))
        pool.submit(lane, one)
        assert await one.future == [f"TEXT NUMBER {number}" for number in range(100)] and len(gate.asked) > 20

    run(work)


def test_the_bound_is_exact_every_time():
    async def work(pool):
        for _ in range(20):
            gate, lane = Gate(opened=False), Lane(32, 0)
            refused, jobs = 0, []
            for number in range(2 + 32 + 10):
                one = job(gate, str(number), key=str(number))
                try:
                    pool.submit(lane, one)
                    jobs.append(one)
                except BusyError as problem:
                    refused += 1
                    assert 1 <= problem.retry_after <= 30
            gate.open.set()
            await asyncio.gather(*(one.future for one in jobs))
            assert (refused, len(jobs)) == (10, 34)

    run(work)


def test_late_work_is_not_done():
    async def work(pool):
        gate, lane = Gate(opened=False), Lane(100, 0)
        running = [job(gate, "a"), job(gate, "b")]
        late = [job(gate, f"late {number}", seconds=0.1, key=str(number)) for number in range(20)]
        for one in (*running, *late):
            pool.submit(lane, one)
        said = await asyncio.gather(*(one.future for one in late), return_exceptions=True)
        assert {type(one) for one in said} == {DeadlineError}
        gate.open.set()
        assert await asyncio.gather(*(one.future for one in running)) == [["A"], ["B"]]
        await asyncio.sleep(0.1)
        assert sorted(gate.asked) == [["a"], ["b"]] and not lane.waiting

    run(work)


def test_who_has_left_is_not_worked_for():
    async def work(pool):
        gate, lane = Gate(opened=False), Lane(100, 0)
        first, second, gone = job(gate, "a"), job(gate, "b"), [job(gate, f"gone {number}", key=str(number)) for number in range(30)]
        for one in (first, second, *gone):
            pool.submit(lane, one)
        for one in gone:
            one.future.cancel()
        gate.open.set()
        await asyncio.gather(first.future, second.future)
        last = job(gate, "last")
        pool.submit(lane, last)
        assert await last.future == ["LAST"] and sorted(gate.asked) == [["a"], ["b"], ["last"]]

    run(work)


def test_a_bad_text_fails_alone():
    async def work(pool):
        gate, lane = Gate(opened=False), Lane(100, 100)
        jobs = [job(gate, text) for text in ("1", "2", "3", "bad", "4")]
        for one in jobs:
            pool.submit(lane, one)
        await asyncio.sleep(0.02)
        gate.open.set()
        said = await asyncio.gather(*(one.future for one in jobs), return_exceptions=True)
        assert [str(one) for one in said] == ["['1']", "['2']", "['3']", "a bad text", "['4']"]

    run(work)


def test_a_flooded_model_leaves_the_others_their_turn():
    async def work(pool):
        slow, quick = Gate(), Gate()
        loud, calm = Lane(1000, 0), Lane(1000, 0)
        flood = [Job([str(number)], lambda texts: time.sleep(0.005) or slow(texts), number, time.monotonic() + 20, asyncio.get_running_loop().create_future())
                 for number in range(200)]
        for one in flood:
            pool.submit(loud, one)
        for number in range(5):
            one = job(quick, str(number))
            pool.submit(calm, one)
            await one.future
        assert sum(not one.future.done() for one in flood) > 50, "five answers came before the flood was done"
        await asyncio.gather(*(one.future for one in flood))

    run(work)


def test_the_line_before_a_writer_gives_each_slot_once():
    async def main():
        line = Writers(2, 3)
        await line.enter()
        await line.enter()
        waiting = [asyncio.ensure_future(line.enter()) for _ in range(3)]
        await asyncio.sleep(0)
        with pytest.raises(BusyError):
            await line.enter()
        waiting[0].cancel()
        await asyncio.sleep(0)
        line.leave()
        await asyncio.sleep(0)
        assert waiting[1].done() and not waiting[2].done() and line.busy == 2
        # Given a slot and cancelled in the same moment: the slot goes on to the next.
        third = asyncio.ensure_future(line.enter())
        await asyncio.sleep(0)
        line.leave()
        waiting[2].cancel()
        await asyncio.sleep(0.01)
        assert third.done() and not third.cancelled() and line.busy == 2
        line.leave()
        line.leave()
        assert line.busy == 0 and line.free == 2

    asyncio.run(main())


def test_a_canary_that_fails_more_often_is_seen_and_a_small_sample_is_not():
    from pathlib import Path

    async def main():
        entry = Entry("x", Path("x"))
        entry.current, entry.canary = (Version(None, Lane(1, 1)) for _ in range(2))  # type: ignore[arg-type]
        entry.current.calls, entry.current.failures, entry.canary.calls, entry.canary.failures = 1000, 10, 100, 19
        assert not entry.canary_is_worse()
        entry.canary.failures = 20
        assert entry.canary_is_worse()
        entry.current.failures = 100
        assert not entry.canary_is_worse()

    asyncio.run(main())
