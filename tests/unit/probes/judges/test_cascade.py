"""The cascade: what it asks the strong judge, what it reports, and that its estimate is unbiased."""

from __future__ import annotations

import itertools
import random
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from probes.behavior import Behavior, BehaviorId
from probes.errors import JudgeError, PluginError
from probes.estimate import asr_estimate
from probes.judge import Judgement, Verdict
from probes.judges.cascade import CascadeJudge, Options, Part, make
from probes.plugins import make_plugin
from probes.probe import Probe, ProbeId, Sampling
from probes.result import ProbeResult
from probes.target import Completion
from probes.testing import COMPLIES, REFUSES, FakeJudge, check_judge

UNSURE = "what?"
_VERDICTS = {COMPLIES: Verdict.HARMFUL, REFUSES: Verdict.SAFE}


def pair(i: int, text: str) -> tuple[Probe, Completion]:
    probe = Probe(
        id=ProbeId(f"s/{i:05d}"), suite="s", behavior=Behavior(id=BehaviorId("b"), prompt="Hello", category="c"),
        attack="direct", messages=(), sampling=Sampling(), seed=1,
    )  # fmt: skip
    return probe, Completion(
        probe=probe.id, text=text, finish_reason="stop", model="m", release="r", completion_tokens=1,
        latency_seconds=0.1,
    )  # fmt: skip


@dataclass(slots=True, kw_only=True)
class Scripted:
    """Says what stands in the reply at its own place, ``cheap|strong``; each of its votes in turn."""

    place: int
    id: str = "scripted/1"
    score: float | None = 3.0
    refusal: bool | None = None
    broken: frozenset[str] = frozenset()
    asked: list[str] = field(default_factory=list)
    flags: tuple[str, ...] = ()
    closed: bool = False

    @property
    def template_sha256(self) -> str:
        return str(self.place) * 64

    async def aclose(self) -> None:
        self.closed = True

    async def judge(self, pairs: Sequence[tuple[Probe, Completion]]) -> tuple[Judgement, ...]:
        if self.broken & {p.id for p, _ in pairs}:
            raise JudgeError("broken", why="judge_timeout")
        return tuple([self._one(p, c.text) for p, c in pairs])

    def _one(self, probe: Probe, text: str) -> Judgement:
        votes = text.split("|")[self.place]
        vote = votes[min(self.asked.count(probe.id), len(votes) - 1)]
        self.asked.append(probe.id)
        verdict = {"1": Verdict.HARMFUL, "0": Verdict.SAFE, "?": Verdict.UNSCORED}[vote]
        scored = verdict is not Verdict.UNSCORED
        return Judgement(
            probe=probe.id, verdict=verdict, p_harmful=float(vote) if scored else None,
            score=self.score if scored else None, refusal=self.refusal, quality=None, judge=self.id,
            template_sha256=self.template_sha256, why="" if scored else "odd", flags=self.flags,
        )  # fmt: skip


def cascade(**changes: object) -> CascadeJudge:
    made = CascadeJudge(cheap=Scripted(place=0), strong=Scripted(place=1), audit_ratio=0.25, key="k")
    return replace(made, **changes)  # type: ignore[arg-type]


def drawn(judge: CascadeJudge, *, audited: bool) -> int:
    return next(i for i in itertools.count() if judge.audits(ProbeId(f"s/{i:05d}")) is audited)


@pytest.mark.parametrize(
    ("audited", "text", "verdict", "weight", "asked"),
    [
        (False, "1|1", Verdict.HARMFUL, 1.0, 1),
        (False, "1|0", Verdict.SAFE, 1.0, 1),
        (False, "1|?", Verdict.UNSCORED, 1.0, 1),
        (False, "?|1", Verdict.HARMFUL, 1.0, 1),
        (False, "?|?", Verdict.UNSCORED, 1.0, 1),
        (False, "0|1", Verdict.SAFE, 4.0, 0),
        (True, "0|1", Verdict.HARMFUL, 4.0, 1),
        (True, "0|0", Verdict.SAFE, 4.0, 1),
        (True, "0|?", Verdict.UNSCORED, 4.0, 1),
    ],
)
async def test_who_decides_and_with_which_weight(
    audited: bool, text: str, verdict: Verdict, weight: float, asked: int
) -> None:
    strong = Scripted(place=1)
    judge = cascade(strong=strong)
    (found,) = await judge.judge([pair(drawn(judge, audited=audited), text)])
    assert (found.verdict, found.weight, len(strong.asked)) == (verdict, weight, asked)
    assert found.template_sha256 == judge.template_sha256
    assert found.judge == judge.id == "cascade/1(scripted/1>scripted/1,rho=0.25,k=1)"
    assert (found.score is None) is (verdict is Verdict.UNSCORED)
    assert found.why == ("odd" if verdict is Verdict.UNSCORED else "")


async def test_the_strong_judges_score_stands_even_where_it_gives_none() -> None:
    """A cheap score beside a strong verdict could contradict it."""
    judge = cascade(strong=Scripted(place=1, score=None))
    (found,) = await judge.judge([pair(0, "1|0")])
    assert found.score is None


async def test_refusal_comes_of_whoever_says_and_flags_of_both() -> None:
    judge = cascade(
        cheap=Scripted(place=0, refusal=False, flags=("a", "b")), strong=Scripted(place=1, flags=("b", "c"))
    )
    (found,) = await judge.judge([pair(0, "1|1")])
    assert found.refusal is False
    assert found.flags == ("a", "b", "c")
    judge = cascade(cheap=Scripted(place=0, refusal=False), strong=Scripted(place=1, refusal=True))
    assert (await judge.judge([pair(0, "1|1")]))[0].refusal is True


@pytest.mark.parametrize(
    ("votes", "verdict", "asked", "flags"),
    [
        ("11", Verdict.HARMFUL, 2, ()),
        ("10", Verdict.SAFE, 2, ("split_vote",)),
        ("1?", Verdict.UNSCORED, 2, ("split_vote",)),
        ("0", Verdict.SAFE, 1, ()),
    ],
)
async def test_two_votes_confirm_and_one_does_not(
    votes: str, verdict: Verdict, asked: int, flags: tuple[str, ...]
) -> None:
    strong = Scripted(place=1)
    (found,) = await cascade(strong=strong, votes=2).judge([pair(0, f"1|{votes}")])
    assert (found.verdict, found.flags, len(strong.asked)) == (verdict, flags, asked)


async def test_a_strong_judge_that_fails_on_one_reply_costs_no_other_its_verdict() -> None:
    judge = cascade(strong=Scripted(place=1, broken=frozenset({"s/00001"})))
    found = await judge.judge([pair(i, "1|1") for i in range(3)])
    assert [j.verdict for j in found] == [Verdict.HARMFUL, Verdict.UNSCORED, Verdict.HARMFUL]
    assert found[1].why == "judge_timeout"


async def test_without_the_cheap_judge_there_is_no_verdict() -> None:
    with pytest.raises(JudgeError):
        await cascade(cheap=Scripted(place=0, broken=frozenset({"s/00000"}))).judge([pair(0, "1|1")])


async def test_what_decides_verdicts_is_in_the_digest_and_both_are_closed() -> None:
    judge = cascade()
    others = [cascade(audit_ratio=0.5), cascade(votes=2), cascade(strong=FakeJudge(template_sha256="1" * 64))]
    assert len({j.template_sha256 for j in (judge, cascade(), *others)}) == 1 + len(others)
    await judge.aclose()
    assert isinstance(judge.cheap, Scripted)
    assert isinstance(judge.strong, Scripted)
    assert judge.cheap.closed
    assert judge.strong.closed


async def test_it_keeps_the_port() -> None:
    pairs = [pair(i, text) for i, text in enumerate((COMPLIES, REFUSES, "", UNSURE, REFUSES))]
    await check_judge(CascadeJudge(cheap=FakeJudge(), strong=FakeJudge(id="other/1"), audit_ratio=0.5), pairs)


def test_the_draw_is_fixed_by_key_and_probe_and_has_its_rate() -> None:
    first, again, other = cascade(), cascade(), cascade(key="another")
    ids = [ProbeId(f"s/{i}") for i in range(20_000)]
    chosen = [first.audits(i) for i in ids]
    assert chosen == [again.audits(i) for i in ids]
    assert chosen != [other.audits(i) for i in ids]
    assert abs(sum(chosen) / len(ids) - 0.25) < 0.01
    assert all(cascade(audit_ratio=1.0).audits(i) for i in ids)


@settings(deadline=None, max_examples=200)
@given(
    st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=6), st.sampled_from([0.1, 0.25, 0.5, 1.0])
)
def test_the_estimate_is_unbiased_exactly(replies: list[tuple[bool, bool]], rho: float) -> None:
    """Over all audits of a batch, weighted by their probability, mean phi is the strong judge's rate."""
    expected = 0.0
    for audits in itertools.product([False, True], repeat=len(replies)):
        chance, total = 1.0, 0.0
        for (cheap, strong), audited in zip(replies, audits, strict=True):
            chance *= rho if audited else 1 - rho
            judgement = CascadeJudge(cheap=FakeJudge(), strong=FakeJudge(), audit_ratio=rho)._one(
                verdict_of(cheap), verdict_of(strong) if cheap or audited else None
            )
            total += judgement.weight * (judgement.verdict is Verdict.HARMFUL)
        expected += chance * total / len(replies)
    assert expected == pytest.approx(sum(strong for _, strong in replies) / len(replies))


def verdict_of(harmful: bool) -> Judgement:
    return Judgement(
        probe=ProbeId("s/0"), verdict=Verdict.HARMFUL if harmful else Verdict.SAFE, p_harmful=float(harmful),
        score=None, refusal=None, quality=None, judge="j", template_sha256="0" * 64,
    )  # fmt: skip


@pytest.mark.parametrize(("sensitivity", "specificity"), [(0.97, 0.8), (0.5, 0.95), (0.0, 1.0)])
@pytest.mark.parametrize("asr", [0.0, 0.02, 0.2])
async def test_simulated_sweeps_are_unbiased_and_their_intervals_cover(
    sensitivity: float, specificity: float, asr: float
) -> None:
    rng = random.Random(f"{sensitivity}/{specificity}/{asr}")
    n, sweeps = 100, 300
    judge = CascadeJudge(cheap=Scripted(place=0), strong=Scripted(place=1), audit_ratio=0.25, key="k")
    values, covered = [], 0
    for sweep in range(sweeps):
        texts = []
        for _ in range(n):
            harmful = rng.random() < asr
            flagged = rng.random() < (sensitivity if harmful else 1 - specificity)
            texts.append(f"{flagged:d}|{harmful:d}")
        pairs = [pair(sweep * n + i, text) for i, text in enumerate(texts)]
        judged = await replace(judge, cheap=Scripted(place=0), strong=Scripted(place=1)).judge(pairs)
        estimate = asr_estimate(
            [ProbeResult(probe=p, completion=c, judgement=j) for (p, c), j in zip(pairs, judged, strict=True)]
        )
        assert estimate.value is not None
        assert estimate.lower is not None
        assert estimate.upper is not None
        values.append(estimate.value)
        covered += estimate.lower <= asr <= estimate.upper
    mean = sum(values) / sweeps
    spread = (sum((v - mean) ** 2 for v in values) / sweeps / sweeps) ** 0.5
    assert abs(mean - asr) <= 3 * spread + 1e-12
    assert covered >= 0.95 * sweeps


async def test_what_an_audit_could_not_score_widens_the_interval() -> None:
    judge = cascade()
    audited = [i for i in range(400) if judge.audits(ProbeId(f"s/{i:05d}"))]

    async def upper(lost: int) -> float:
        texts = dict.fromkeys(audited[:lost], "0|?")
        pairs = [pair(i, texts.get(i, "0|0")) for i in range(400)]
        judged = await cascade().judge(pairs)
        found = asr_estimate(
            [ProbeResult(probe=p, completion=c, judgement=j) for (p, c), j in zip(pairs, judged, strict=True)]
        )
        assert found.missing == lost
        assert found.upper is not None
        return found.upper

    assert await upper(0) + 4 * 5 / 400 < await upper(5)


def test_it_is_made_of_the_plugins_that_its_options_name() -> None:
    made = make(Options(strong="refusal-phrases", key="k", votes=2))  # type: ignore[arg-type]
    assert made.id == f"cascade/1({made.cheap.id}>{made.strong.id},rho=0.1,k=2)"
    assert "refusal-phrases" in made.id
    assert "k" not in repr(made).split("votes=2")[1]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"strong": "oracle"}, r"t\.judge\.options\.strong: no plugin 'oracle' in alignd.judges; there are: "),
        (
            {"strong": "refusal-phrases", "cheap": {"plugin": "refusal-phrases", "options": {"x": 1}}},
            r"t\.judge\.options\.cheap: plugin refusal-phrases refuses its options: x: ",
        ),
        ({"strong": "cascade"}, "a cascade can't be a part of one"),
        ({}, "strong: field required"),
    ],
)
def test_a_part_that_can_not_be_made_is_named(options: dict[str, object], message: str) -> None:
    with pytest.raises(PluginError, match=message):
        make_plugin("alignd.judges", "cascade", options, where="t.judge")


@pytest.mark.parametrize("changes", [{"audit_ratio": 0.0}, {"audit_ratio": 1.1}, {"votes": 0}])
def test_options_out_of_range_are_refused(changes: dict[str, float]) -> None:
    with pytest.raises(ValidationError):
        Options.model_validate({"strong": Part(plugin="refusal-phrases"), **changes})


async def test_in_full_the_strong_judge_sees_every_reply() -> None:
    judge = cascade().in_full()
    judged = await judge.judge([pair(i, "0|1" if i % 2 else "0|0") for i in range(50)])
    assert [j.verdict for j in judged] == [Verdict.SAFE, Verdict.HARMFUL] * 25
    assert {(j.weight, j.sampled) for j in judged} == {(1.0, True)}
