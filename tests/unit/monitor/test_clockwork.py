"""The schedule's beat: spread first runs, and clocks that are set or stand still, by clocks of the test's own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass

import pytest
from apscheduler.events import EVENT_JOB_MAX_INSTANCES
from apscheduler.triggers.cron import CronTrigger
from hypothesis import given
from hypothesis import strategies as st

from monitor.clockwork import Clockwork, job_id, spread
from monitor.timing import Timing

MIDNIGHT = 1_767_225_600.0
HOUR = 3600.0


async def nothing(_: str) -> None:
    return None


@dataclass
class Clocks:
    """Two clocks that stand still unless they are moved."""

    steady: float = 1000.0
    wall: float = MIDNIGHT

    def passes(self, seconds: float) -> None:
        self.steady += seconds
        self.wall += seconds


@asynccontextmanager
async def planned(
    seconds: Mapping[str, float], work: Callable[[str], object] = nothing
) -> AsyncIterator[tuple[Clockwork, Clocks]]:
    """A schedule that plans and, being paused, runs nothing."""
    clocks = Clocks()
    clockwork = Clockwork(Timing(), steady=lambda: clocks.steady, wall=lambda: clocks.wall)
    clockwork.every("tick", seconds, work)  # type: ignore[arg-type]
    clockwork.start(paused=True)
    yield clockwork, clocks
    clockwork.shutdown()
    await asyncio.sleep(0)


def until(clockwork: Clockwork, clocks: Clocks) -> dict[str, float]:
    """Seconds until each job runs."""
    return {j.id: j.next_run_time.timestamp() - clocks.wall for j in clockwork.get_jobs()}


names = st.dictionaries(st.text(min_size=1, max_size=8), st.floats(0.1, 900), min_size=1, max_size=60)


@given(names)
def test_one_runs_at_once_and_all_within_their_interval(seconds: dict[str, float]) -> None:
    later = spread("tick", seconds)
    assert min(later.values()) == 0
    assert all(0 <= later[name] <= interval for name, interval in seconds.items())
    assert later == spread("tick", dict(reversed(seconds.items())))


def test_hundreds_are_spread_evenly_and_a_few_do_not_wait_long() -> None:
    many = spread("tick", {f"t{n}": 60.0 for n in range(500)}).values()
    busiest = max(sum(second <= at < second + 1 for at in many) for second in range(60))
    assert busiest <= 25
    assert max(many) > 55
    assert max(spread("tick", {f"t{n}": 60.0 for n in range(4)}).values()) <= 0.75
    assert spread("tick", {"prod": 60.0}) == {"prod": 0.0}


@pytest.mark.parametrize("jump", [-5 * HOUR, 5 * HOUR, -3.0, 90.0], ids=lambda j: f"{j:g}")
async def test_a_clock_that_is_set_moves_no_interval(jump: float) -> None:
    async with planned({"a": 60.0, "b": 60.0, "c": 60.0}) as (clockwork, clocks):
        before = until(clockwork, clocks)
        clocks.passes(0.0)
        clocks.wall += jump
        clockwork.wakeup()
        assert until(clockwork, clocks) == pytest.approx(before)
        clockwork.wakeup()
        assert (clockwork.timing.clock_jumps, clockwork.timing.of("tick").missed) == (1, 0)


async def test_a_clock_that_is_put_right_bit_by_bit_is_no_jump() -> None:
    async with planned({"a": 60.0}) as (clockwork, clocks):
        for _ in range(100):
            clocks.passes(0.5)
            clocks.wall += 0.01
            clockwork.wakeup()
        assert clockwork.timing.clock_jumps == 0


async def test_what_was_missed_is_counted_and_made_up_once_one_after_the_other() -> None:
    seconds = {f"t{n}": 60.0 for n in range(40)}
    async with planned(seconds) as (clockwork, clocks):
        clocks.passes(10 * 60.0 + 30.0)
        clockwork.wakeup()
        left = until(clockwork, clocks)
        assert left == pytest.approx({job_id("tick", n): at for n, at in spread("tick", seconds).items()})
        assert 9 * 40 <= clockwork.timing.of("tick").missed <= 10 * 40
        counted = clockwork.timing.of("tick").missed
        clockwork.wakeup()
        assert clockwork.timing.of("tick").missed == counted


async def test_a_short_stop_misses_nothing() -> None:
    async with planned({"a": 60.0}) as (clockwork, clocks):
        clocks.passes(20.0)
        clockwork.wakeup()
        assert until(clockwork, clocks) == pytest.approx({"tick-a": -20.0}), "it runs late, at once"
        assert clockwork.timing.of("tick").missed == 0


async def test_asleep_and_the_clock_set_at_once() -> None:
    async with planned({"a": 60.0, "b": 900.0}) as (clockwork, clocks):
        before = until(clockwork, clocks)
        clocks.passes(300.0)
        clocks.wall -= 2 * HOUR
        clockwork.wakeup()
        assert clockwork.timing.clock_jumps == 1
        assert clockwork.timing.of("tick").missed in {4, 5}
        left = until(clockwork, clocks)
        assert left["tick-a"] == 0.0
        if before["tick-b"] == 0:
            assert left["tick-b"] == pytest.approx(-300.0)


async def test_a_job_by_the_calendar_goes_by_the_wall_clock() -> None:
    async with planned({"a": 60.0}) as (clockwork, clocks):
        clockwork.add_job(nothing, CronTrigger(hour=2, timezone="UTC"), args=["x"], id="audit",
                          next_run_time=None)  # fmt: skip
        job = clockwork.get_job("audit")
        job.modify(next_run_time=job.trigger.get_next_fire_time(None, clockwork._now()))
        assert until(clockwork, clocks)["audit"] == 2 * HOUR
        clocks.wall += 3 * HOUR
        clockwork.wakeup()
        assert until(clockwork, clocks)["audit"] == -HOUR, "its hour has passed: it runs at once"
        job.modify(next_run_time=job.trigger.get_next_fire_time(None, clockwork._now()))
        clocks.wall -= 2 * HOUR
        clockwork.wakeup()
        assert until(clockwork, clocks)["audit"] == HOUR, "its hour comes again"


async def test_it_runs_measures_and_paces() -> None:
    timing, ran = Timing(), asyncio.Event()

    async def work(_: str) -> None:
        ran.set()

    clockwork = Clockwork(timing)
    clockwork.every("tick", {"prod": 60.0}, work)
    clockwork.start()
    assert timing.next_run("tick-nobody") is None
    async with asyncio.timeout(10):
        await ran.wait()
    first = timing.next_run("tick-prod")
    clockwork.pace("tick", "prod", 600.0)
    second = timing.next_run("tick-prod")
    assert first
    assert second
    assert 500 < (second - first).total_seconds() < 600
    assert timing.of("tick").runs == 1
    assert 0 <= timing.of("tick").lag(first) < 5
    clockwork.shutdown()
    await asyncio.sleep(0)


async def test_a_run_that_is_still_under_way_leaves_the_next_one_out(caplog: pytest.LogCaptureFixture) -> None:
    timing, end, overrun = Timing(), asyncio.Event(), asyncio.Event()

    async def slow(_: str) -> None:
        await end.wait()

    clockwork = Clockwork(timing)
    clockwork.add_listener(lambda _: overrun.set(), EVENT_JOB_MAX_INSTANCES)
    clockwork.every("tick", {"prod": 0.02}, slow)
    clockwork.start()
    async with asyncio.timeout(10):
        await overrun.wait()
    assert timing.of("tick").runs == 1
    assert timing.of("tick").overruns >= 1
    assert '"tick-prod ' in caplog.text
    end.set()
    clockwork.shutdown()
    await asyncio.sleep(0)


async def test_a_job_can_be_had_at_once() -> None:
    async with planned({"a": HOUR, "b": HOUR}) as (clockwork, clocks):
        clocks.passes(60)
        clockwork.at_once("tick", "a")
        assert until(clockwork, clocks)["tick-a"] == 0.0
