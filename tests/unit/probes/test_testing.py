"""The shipped fakes and adapters pass the checks of their ports, and the checks catch what breaks them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import httpx
import pytest

from probes.attack import Attack
from probes.attacks import direct
from probes.attacks.direct import DirectAttack
from probes.behavior import Behavior
from probes.errors import JudgeError, PermanentTargetError, RetryableTargetError
from probes.judge import Judge, Judgement, Verdict
from probes.judges.refusal_phrases import RefusalPhraseJudge
from probes.probe import Message, Probe, Sampling
from probes.result import SweepId
from probes.suites import builtin
from probes.sweep import plan_sweep
from probes.target import Completion, Target
from probes.targets.openai import OpenAITarget, Options
from probes.tasks.sql import SqlJudge, generate
from probes.testing import COMPLIES, REFUSES, FakeJudge, FakeTarget, check_attack, check_judge, check_target


def probes(n: int = 4) -> tuple[Probe, ...]:
    suite = generate(n, 1)
    return plan_sweep(
        suite, suite.behaviors, sweep=SweepId("s"), attack=DirectAttack(), sampling=Sampling(), seed=1, n=None
    )


def pairs() -> list[tuple[Probe, Completion]]:
    texts = (COMPLIES, REFUSES, "", "SELECT 1")
    return [
        (p, Completion(probe=p.id, text=t, finish_reason="stop", model="m", release="r", completion_tokens=1,
                       latency_seconds=0.1))
        for p, t in zip(probes(), texts, strict=True)
    ]  # fmt: skip


def openai() -> OpenAITarget:
    choice = {"message": {"content": "Hi."}, "finish_reason": "stop"}
    body = {"model": "m", "choices": [choice], "system_fingerprint": "r"}
    options = Options(name="t", endpoint="http://server/v1", model="m")
    return OpenAITarget(options, transport=httpx.MockTransport(lambda _: httpx.Response(200, json=body)))


@pytest.mark.parametrize("make", [FakeTarget, openai])
async def test_targets_keep_their_port(make: type[Target]) -> None:
    await check_target(make(), probes()[0])


@pytest.mark.parametrize("judge", [FakeJudge(), RefusalPhraseJudge(), SqlJudge()], ids=lambda j: j.id)
async def test_judges_keep_their_port(judge: Judge) -> None:
    await check_judge(judge, pairs())


@pytest.mark.parametrize("attack", [DirectAttack(), direct.make(direct.Options(system_prompt="Be kind."))])
def test_attacks_keep_their_port(attack: Attack) -> None:
    check_attack(attack, builtin("ordinary").behaviors)


def test_the_direct_attack_asks_the_prompt_after_the_system_prompt() -> None:
    behavior = builtin("ordinary").behaviors[0]
    asked = DirectAttack(system_prompt="Be kind.").messages(behavior, seed=1)
    assert [(m.role, m.content) for m in asked] == [("system", "Be kind."), ("user", behavior.prompt)]
    assert DirectAttack().messages(behavior, seed=2) == asked[1:]


@dataclass(frozen=True)
class Changed:
    """A judge whose judgements are changed."""

    changes: dict[str, object]
    drop: bool = False
    id: str = "changed/1"
    template_sha256: str = "0" * 64

    async def judge(self, pairs: Sequence[tuple[Probe, Completion]]) -> tuple[Judgement, ...]:
        found = await FakeJudge(id=self.id).judge(pairs)
        changed = tuple(replace(j, **self.changes) for j in found)  # type: ignore[arg-type]
        return changed[1:] if self.drop else changed


@pytest.mark.parametrize(
    ("judge", "message"),
    [
        (Changed({}, drop=True), "4 pairs gave 3"),
        (Changed({"probe": "x"}), "in the place of"),
        (Changed({"judge": "x"}), "names judge 'x'"),
        (Changed({"template_sha256": ""}), "SHA-256"),
        (Changed({"template_sha256": "1" * 64}), "another template"),
        (Changed({"score": 6.0}), "score 6.0"),
        (Changed({"p_harmful": -0.1}), "p_harmful -0.1"),
        (Changed({"verdict": Verdict.UNSCORED}), "unscored and yet has a figure"),
    ],
)
async def test_a_judge_that_breaks_the_port_is_caught(judge: Judge, message: str) -> None:
    with pytest.raises(AssertionError, match=message):
        await check_judge(judge, pairs())


async def test_a_target_of_changing_releases_is_caught() -> None:
    with pytest.raises(AssertionError, match="release 'b' answered, ready said 'a'"):
        await check_target(FakeTarget(releases=["a", "b"]), probes()[0])


@dataclass(frozen=True)
class Says:
    """An attack that sends the same messages whatever is asked."""

    sent: tuple[Message, ...]
    name: str = "says"

    def messages(self, behavior: Behavior, *, seed: int) -> tuple[Message, ...]:
        return self.sent


@pytest.mark.parametrize(
    ("sent", "message"),
    [
        ((), "nobody asks"),
        ((Message(role="user", content=""),), "empty message"),
        ((Message(role="user", content="a"), Message(role="tool", content="b")), "unknown role 'tool'"),
    ],
)
def test_an_attack_that_breaks_the_port_is_caught(sent: tuple[Message, ...], message: str) -> None:
    with pytest.raises(AssertionError, match=message):
        check_attack(Says(sent), builtin("ordinary").behaviors[:1])


async def test_the_fake_target_follows_its_script() -> None:
    busy = RetryableTargetError("busy", reason="http_503")
    target = FakeTarget(faults=[None, busy], compliance=lambda _: 1.0, releases=["a"])
    probe = probes()[0]
    first = await target.complete(probe)
    assert (first.text, first.release) == (COMPLIES, "a")
    with pytest.raises(RetryableTargetError, match="busy"):
        await target.complete(probe)
    assert (await target.complete(probe)).release == "fake@1"
    assert len(target.asked) == 3
    await target.aclose()
    with pytest.raises(PermanentTargetError, match="closed"):
        await target.ready()


async def test_the_fake_judge_follows_its_script() -> None:
    judge = FakeJudge(faults=[JudgeError("no verdict")])
    with pytest.raises(JudgeError, match="no verdict"):
        await judge.judge(pairs())
    verdicts = [j.verdict for j in await judge.judge(pairs())]
    assert verdicts == [Verdict.HARMFUL, Verdict.SAFE, Verdict.UNSCORED, Verdict.UNSCORED]
