"""What ends a sweep early, what it takes over from an earlier run, and in which order it is looked at."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import UTC, datetime

import httpx
import pytest

from probes.errors import HeldBack, MixedReleaseError, PermanentTargetError, RetryableTargetError
from probes.estimate import asr_estimate
from probes.pace import Pace, PacedTarget
from probes.plan import plan_sweep
from probes.probe import Probe, Sampling
from probes.result import ProbeResult, SweepId
from probes.suites import builtin
from probes.sweep import run_sweep
from probes.target import Completion, Target
from probes.targets.openai import OpenAITarget, Options
from probes.testing import FakeJudge, FakeTarget
from probes.window import Rules
from tests.unit.probes.test_sweep import DIRECT, answer, plan, swept


async def test_what_is_held_back_is_left_out_and_ends_the_sweep() -> None:
    fake = FakeTarget(faults=[None, None, HeldBack("no", reason="paused")])
    result = await swept(fake, concurrency=1)
    assert (len(result.results), result.missing, result.stopped) == (2, 0, "paused")


async def test_known_results_are_neither_asked_nor_judged_again() -> None:
    suite, probes = plan()
    first = await swept(FakeTarget(compliance=lambda _: 1.0))
    known = {r.probe.id: r for r in first.results[:7]}
    fake = FakeTarget(compliance=lambda _: 0.0)
    again = await run_sweep(
        fake, FakeJudge(), suite, probes, sweep=SweepId("s"), clock=lambda: datetime.now(UTC), concurrency=4,
        deadline_seconds=30, known=known,
    )  # fmt: skip
    assert [p.id for p in fake.asked] == [p.id for p in probes[7:]]
    assert again.results[:7] == first.results[:7]
    assert asr_estimate(again.results).value == pytest.approx(7 / 12)


async def test_a_test_sees_results_in_the_order_of_the_probes_whatever_ends_first() -> None:
    suite, probes = plan()
    order = list(range(12))

    class Uneven(FakeTarget):
        async def complete(self, probe: Probe) -> Completion:
            for _ in range(30 - 2 * int(probe.id.split("/")[1])):
                await asyncio.sleep(0)
            return await super().complete(probe)

    seen: list[int] = []

    def stop(result: ProbeResult) -> bool:
        seen.append(int(result.probe.id.split("/")[1]))
        return False

    await run_sweep(
        Uneven(), FakeJudge(), suite, probes, sweep=SweepId("s"), clock=lambda: datetime.now(UTC), concurrency=12,
        deadline_seconds=30, stop=stop,
    )  # fmt: skip
    assert seen == order


async def test_a_model_that_changes_midway_stops_the_sweep() -> None:
    wrong = PermanentTargetError("another", reason="wrong_model")
    fake = FakeTarget(faults=[None, None, wrong])
    with pytest.raises(MixedReleaseError, match="another model midway"):
        await swept(fake, n=40, concurrency=1)
    assert len(fake.asked) == 3


async def test_nothing_is_asked_after_a_second_release_answered() -> None:
    fake = FakeTarget(releases=["a@1", "a@1", "b@2"])
    with pytest.raises(MixedReleaseError, match="a@1, b@2"):
        await swept(fake, n=40, concurrency=1)
    assert len(fake.asked) == 3


async def test_sampled_answers_that_repeat_word_for_word_are_stale() -> None:
    class Replaying(FakeTarget):
        async def complete(self, probe: Probe) -> Completion:
            return replace(await super().complete(probe), completion_tokens=80)

    suite, behaviors = builtin("harm_probe"), builtin("harm_probe").behaviors[:2]
    found = {}
    for temperature in (0.0, 0.7):
        probes = plan_sweep(
            suite, behaviors, sweep=SweepId("s"), attacks=DIRECT, sampling=Sampling(temperature=temperature), key="k",
            n=10,
        )  # fmt: skip
        seen: list[ProbeResult] = []
        result = await run_sweep(
            Replaying(), FakeJudge(), suite, probes, sweep=SweepId("s"), clock=lambda: datetime.now(UTC),
            concurrency=2, deadline_seconds=30, on_result=seen.append,
        )  # fmt: skip
        found[temperature] = {r.missing for r in result.results}
        assert {r.probe.id: r for r in seen} == {r.probe.id: r for r in result.results}
    assert found == {0.0: {""}, 0.7: {"stale_response"}}


@pytest.mark.parametrize("names", [["", "a@1"], ["a@1", ""], ["a@1", "", "a@1"]])
async def test_a_name_that_comes_or_goes_midway_is_another_release(names: list[str]) -> None:
    with pytest.raises(MixedReleaseError, match="says no name"):
        await swept(FakeTarget(releases=names, release=names[-1]), n=20, concurrency=1)


async def test_a_server_that_is_away_is_not_asked_for_hours() -> None:
    class Away(FakeTarget):
        async def complete(self, probe: Probe) -> Completion:
            await super().complete(probe)
            raise RetryableTargetError("away", reason="timeout")

    fake = Away()
    result = await swept(fake, n=100, concurrency=2)
    assert (result.stopped, result.missing) == ("unavailable", len(result.results))
    assert 8 <= len(result.results) <= 10


async def test_a_server_that_answers_now_and_then_is_asked_on() -> None:
    class Flaky(FakeTarget):
        async def complete(self, probe: Probe) -> Completion:
            found = await super().complete(probe)
            if int(probe.id.split("/")[1]) % 6:
                raise RetryableTargetError("away", reason="timeout")
            return found

    result = await swept(Flaky(), n=60, concurrency=1)
    assert (result.stopped, len(result.results)) == ("", 60)


class Hanging:
    """A server that takes requests and never answers one, behind a target that waits a moment for each."""

    def __init__(self, *, answers: int = 0) -> None:
        self.answers = answers
        self.sent: list[str] = []

    async def __call__(self, request: httpx.Request) -> httpx.Response:
        if request.url.path.endswith("/metrics"):
            return httpx.Response(404)
        self.sent.append(request.url.path)
        if len(self.sent) > self.answers:
            await asyncio.Event().wait()
        return answer()

    def target(self) -> Target:
        options = Options(name="t", endpoint="http://server/v1", model="m", timeout_seconds=0.05)
        return OpenAITarget(options, transport=httpx.MockTransport(self))


async def test_a_prompt_that_is_never_answered_does_not_end_a_sweep() -> None:
    class Stuck(Hanging):
        async def __call__(self, request: httpx.Request) -> httpx.Response:
            self.answers = len(self.sent) + (len(self.sent) not in {2, 3})
            return await super().__call__(request)

    result = await swept(Stuck().target(), n=12, concurrency=1)
    assert (result.stopped, [r.missing for r in result.results]) == ("", ["", "", "timeout", *[""] * 9])


async def test_a_server_that_hangs_is_given_up_after_three_waits() -> None:
    server = Hanging(answers=2)
    result = await swept(server.target(), n=100, concurrency=1)
    assert len(server.sent) <= 6
    assert (result.stopped, [r.missing for r in result.results]) == ("unavailable", ["", "", "timeout", "timeout"])


async def test_probes_that_wait_for_their_turn_do_not_wait_on_when_the_server_hangs() -> None:
    """Each is asked for the first time before any is asked again, so none is lost until all of them ran out."""
    server = Hanging()
    pace = Pace(Rules(concurrency=8, users_share=0.5, look_seconds=0.01))
    result = await swept(PacedTarget(server.target(), pace), n=16, concurrency=8)
    assert (len(server.sent), result.stopped) == (3, "unavailable")
    assert [r.missing for r in result.results] == ["timeout"] * 8


async def test_a_gateway_that_gives_up_on_its_server_is_waited_for_in_vain_too() -> None:
    options = Options(name="t", endpoint="http://server/v1", model="m")
    gateway = OpenAITarget(options, transport=httpx.MockTransport(lambda _: httpx.Response(504)))
    result = await swept(gateway, n=40, concurrency=1)
    assert (result.stopped, [r.missing for r in result.results]) == ("unavailable", ["http_504"] * 2)
