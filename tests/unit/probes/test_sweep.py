"""The sweep and its parts: missing is never safe, releases are never mixed."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from datetime import UTC, datetime

import httpx
import pytest
from pydantic import SecretStr

from probes.attacks.direct import DirectAttack
from probes.behavior import Suite
from probes.errors import (
    JudgeError,
    MixedReleaseError,
    PermanentTargetError,
    RetryableTargetError,
    SuiteError,
)
from probes.estimate import accuracy_estimate, asr_estimate, hs_estimate, refusal_estimate
from probes.judge import Judge
from probes.judges.refusal_phrases import RefusalPhraseJudge
from probes.plan import WeightedAttack, plan_sweep
from probes.probe import Probe, Sampling
from probes.profile import ReleaseProfile, profile_of
from probes.result import ProbeResult, SweepId, SweepResult
from probes.suites import builtin
from probes.sweep import run_sweep
from probes.target import Completion, Target
from probes.targets.openai import OpenAITarget, Options
from probes.testing import FakeJudge, FakeTarget

DIRECT = (WeightedAttack(attack=DirectAttack()),)

Server = Callable[[httpx.Request], httpx.Response]


def answer(text: str = "I can't help with that.", *, release: str = "r1", model: str = "m") -> httpx.Response:
    message = {"message": {"content": text}, "finish_reason": "stop"}
    body = {"model": model, "choices": [message], "system_fingerprint": release, "usage": {"completion_tokens": 5}}
    return httpx.Response(200, json=body)


def target(server: Server) -> OpenAITarget:
    options = Options(name="t", endpoint="http://server/v1", model="m", api_key=SecretStr("secret"))
    return OpenAITarget(options, transport=httpx.MockTransport(server))


def plan(n: int | None = 12) -> tuple[Suite, tuple[Probe, ...]]:
    suite = builtin("harm_probe")
    return suite, plan_sweep(
        suite, suite.behaviors, sweep=SweepId("s"), attacks=DIRECT, sampling=Sampling(), key="k", n=n
    )


async def sweep(server: Server, n: int | None = 12) -> SweepResult:
    suite, probes = plan(n)
    return await run_sweep(
        target(server), RefusalPhraseJudge(), suite, probes,
        sweep=SweepId("s"), clock=lambda: datetime.now(UTC), concurrency=4, deadline_seconds=30,
    )  # fmt: skip


async def test_refusals_are_safe_and_compliance_is_harmful() -> None:
    assert asr_estimate((await sweep(lambda _: answer())).results).value == 0.0
    assert asr_estimate((await sweep(lambda _: answer("Sure, here is"))).results).value == 1.0


@pytest.mark.parametrize(
    ("response", "reason"),
    [
        (httpx.Response(401), "http_401"), (httpx.Response(404), "http_404"), (httpx.Response(429), "http_429"),
        (httpx.Response(500), "http_500"), (httpx.Response(503, headers={"retry-after": "0"}), "http_503"),
        (httpx.Response(200, text="<html>"), "malformed"), (httpx.Response(200, json=[1]), "malformed"),
        (httpx.Response(200, json={"choices": []}), "malformed"),
        (httpx.Response(200, json={"choices": "x"}), "malformed"),
        (answer(""), "no_text"), (answer("  \n"), "no_text"),
    ],
)  # fmt: skip
async def test_failures_are_missing_with_a_reason_and_give_no_estimate(response: httpx.Response, reason: str) -> None:
    result = await sweep(lambda _: response)
    assert {r.missing for r in result.results} == {reason}
    estimate = asr_estimate(result.results)
    assert (estimate.value, estimate.n, estimate.missing) == (None, 0, 12)


@pytest.mark.parametrize(
    ("error", "reason"),
    [(httpx.ReadTimeout, "timeout"), (httpx.ConnectError, "unreachable"), (httpx.ReadError, "cut_off")],
)
async def test_network_failures_are_asked_once_more(error: type[httpx.TransportError], reason: str) -> None:
    calls = 0

    def server(_: httpx.Request) -> httpx.Response:
        nonlocal calls
        calls += 1
        raise error("no")

    result = await sweep(server, n=3)
    assert {r.missing for r in result.results} == {reason}
    assert calls == 6


async def test_two_releases_in_one_sweep_are_refused() -> None:
    releases = iter(["r1", "r2"] * 100)
    with pytest.raises(MixedReleaseError, match="r1, r2"):
        await sweep(lambda _: answer(release=next(releases)))


async def test_ready_names_the_release_and_refuses_another_model() -> None:
    assert await target(lambda _: answer()).ready() == "r1"
    with pytest.raises(PermanentTargetError, match="'other'"):
        await target(lambda _: answer(model="other")).ready()


async def test_request_carries_key_seed_and_sampling() -> None:
    seen: list[httpx.Request] = []

    def server(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return answer()

    await sweep(server, n=1)
    body = json.loads(seen[0].content)
    assert seen[0].headers["authorization"] == "Bearer secret"
    assert body["max_tokens"] == 512
    assert body["seed"] == plan(1)[1][0].seed


async def test_stop_ends_a_sweep_early() -> None:
    suite, probes = plan()
    result = await run_sweep(
        target(lambda _: answer()), RefusalPhraseJudge(), suite, probes, sweep=SweepId("s"),
        clock=lambda: datetime.now(UTC), concurrency=1, deadline_seconds=30,
        stop=lambda result: result.probe.id == probes[2].id,
    )  # fmt: skip
    assert len(result.results) == 3


async def swept(
    fake: Target,
    judge: Judge | None = None,
    *,
    n: int | None = 12,
    concurrency: int = 4,
    deadline_seconds: float = 30.0,
    on_result: Callable[[ProbeResult], None] | None = None,
) -> SweepResult:
    suite, probes = plan(n)
    return await run_sweep(
        fake, judge or FakeJudge(), suite, probes, sweep=SweepId("s"), clock=lambda: datetime.now(UTC),
        concurrency=concurrency, deadline_seconds=deadline_seconds, on_result=on_result,
    )  # fmt: skip


async def test_a_retryable_failure_that_passes_is_not_missing() -> None:
    busy = RetryableTargetError("busy", reason="http_503", retry_after_seconds=0.0)
    fake = FakeTarget(faults=[busy])
    assert (await swept(fake)).missing == 0
    assert len(fake.asked) == 13


async def test_a_permanent_failure_is_not_asked_again() -> None:
    fake = FakeTarget(faults=[PermanentTargetError("no", reason="http_404")])
    result = await swept(fake)
    assert (result.missing, len(fake.asked)) == (1, 12)
    assert [r.missing for r in result.results if r.missing] == ["http_404"]


async def test_a_judge_that_fails_leaves_the_probe_missing() -> None:
    result = await swept(FakeTarget(), FakeJudge(faults=[JudgeError("no")]))
    assert sorted(r.missing for r in result.results) == [""] * 11 + ["judge"]


async def test_the_deadline_leaves_what_is_unanswered_missing() -> None:
    class Hanging(FakeTarget):
        async def complete(self, probe: Probe) -> Completion:
            if len(self.asked) == 5:
                await asyncio.Event().wait()
            return await super().complete(probe)

    result = await swept(Hanging(), concurrency=1, deadline_seconds=0.5)
    assert [r.missing for r in result.results] == [""] * 5 + ["deadline"] * 7


async def test_cancelling_a_sweep_cancels_its_requests() -> None:
    ended: list[str] = []

    class Hanging(FakeTarget):
        async def complete(self, probe: Probe) -> Completion:
            try:
                await asyncio.Event().wait()
            finally:
                ended.append(probe.id)
            raise AssertionError

    running = asyncio.create_task(swept(Hanging()))
    while not running.done() and not ended:
        await asyncio.sleep(0)
        running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert len(ended) <= 4


async def test_never_more_requests_in_flight_than_allowed_and_every_result_is_reported() -> None:
    flying: list[int] = []
    now = 0

    class Slow(FakeTarget):
        async def complete(self, probe: Probe) -> Completion:
            nonlocal now
            now += 1
            flying.append(now)
            await asyncio.sleep(0)
            now -= 1
            return await super().complete(probe)

    seen: list[ProbeResult] = []
    result = await swept(Slow(), concurrency=3, on_result=seen.append)
    assert max(flying) == 3
    assert sorted(seen, key=lambda r: r.probe.id) == list(result.results)


async def test_results_stand_in_the_order_of_the_probes_and_name_the_release() -> None:
    result = await swept(FakeTarget(release="r@9"))
    assert [r.probe for r in result.results] == list(plan(12)[1])
    assert (result.release, result.target, result.suite) == ("r@9", "fake", "harm_probe")
    assert result.suite_sha256 == builtin("harm_probe").sha256


async def test_a_server_that_names_no_release_is_swept_all_the_same() -> None:
    assert (await swept(FakeTarget(release=""))).release == ""


@pytest.mark.parametrize(("failed", "estimated"), [(2, True), (3, False)])
async def test_over_five_percent_missing_gives_no_estimate(failed: int, *, estimated: bool) -> None:
    gone = [PermanentTargetError("no", reason="http_404")] * failed
    estimate = asr_estimate((await swept(FakeTarget(faults=gone), n=40)).results)
    assert (estimate.value is not None) is estimated
    assert (estimate.n, estimate.missing) == (40 - failed, failed)


async def test_estimates_of_one_sweep() -> None:
    half = FakeTarget(compliance=lambda b: float(b.form == "question"))
    suite, result = builtin("harm_probe"), await swept(half, n=None)
    share = sum(b.form == "question" for b in suite.behaviors) / len(suite.behaviors)
    asr, hs = asr_estimate(result.results), hs_estimate(result.results)
    assert asr.value == pytest.approx(share)
    assert asr.lower is not None
    assert asr.upper is not None
    assert asr.lower < share < asr.upper
    assert hs.value == pytest.approx(1 + 4 * share)
    assert refusal_estimate(result.results).value == pytest.approx(1 - share)
    assert accuracy_estimate(result.results).value is None
    profile = profile_of("r", harm=result, benign=[result], task=None)
    assert set(profile.asr_by_category) == {b.category for b in suite.behaviors}
    assert sum(e.n for e in profile.asr_by_category.values()) == asr.n


async def test_profile_survives_json() -> None:
    harm = await sweep(lambda _: answer("Sure, here is"), n=None)
    profile = profile_of("r1", harm=harm, benign=[harm], task=None)
    assert profile.hs.value == 5.0
    assert profile.share_scoring_5.value == 1.0
    assert ReleaseProfile.from_json(json.loads(json.dumps(profile.to_json()))) == profile


def test_draws_repeat_with_the_seed() -> None:
    assert plan(50) == plan(50)
    assert len({p.id for p in plan(50)[1]}) == 50


def test_unknown_suite_is_named() -> None:
    with pytest.raises(SuiteError, match="harm_probe"):
        builtin("nope")
