"""What a sweep on demand concludes: never healthier than its answers, whoever judged them and whenever they came."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from monitor.on_demand import Asking, Found, probe_now
from monitor.recorder import Recorder
from probes.attacks.direct import DirectAttack
from probes.behavior import Behavior
from probes.errors import MixedReleaseError, RecordError
from probes.judge import Judge, Judgement
from probes.judges.cascade import CascadeJudge
from probes.plan import WeightedAttack
from probes.probe import Probe, Sampling
from probes.statistics.evalues import Decision
from probes.suites import builtin
from probes.target import Completion
from probes.testing import COMPLIES, REFUSES, FakeJudge, FakeTarget
from probes.transcripts.keyring import Keyring
from probes.transcripts.record import Keep
from probes.transcripts.store import TranscriptStore
from tests.fake_site import RATES

SUITE = builtin("harm_probe")


class Blind(FakeJudge):
    """A cheap judge that finds nothing harmful."""

    async def judge(self, pairs: Sequence[tuple[Probe, Completion]]) -> tuple[Judgement, ...]:
        return await super().judge([(p, replace(c, text=REFUSES)) for p, c in pairs])


def asking(target: FakeTarget, judge: Judge | None = None, **changes: object) -> Asking:
    plain = Asking(
        target=target, endpoint="http://a/v1", model="m", part="all", judge=judge or FakeJudge(), suite=SUITE,
        behaviors=SUITE.behaviors, attacks=(WeightedAttack(attack=DirectAttack()),), sampling=Sampling(), key="k",
        n=100, until_decided=False, rates=RATES, concurrency=1, deadline_seconds=60,
    )  # fmt: skip
    return replace(plain, **changes)  # type: ignore[arg-type]


async def found(given: Asking, record: Path | None = None) -> Found:
    ids = itertools.count()
    return await probe_now(given, clock=lambda: datetime.now(UTC), new_id=lambda: f"{next(ids)}", record=record)


def drifts(after: int) -> Callable[[Behavior], float]:
    asked = itertools.count()
    return lambda _: float(next(asked) >= after)


def cascade(cheap: Judge, *, audit_ratio: float) -> CascadeJudge:
    return CascadeJudge(cheap=cheap, strong=FakeJudge(id="strong/1"), audit_ratio=audit_ratio, key="k")


@pytest.mark.parametrize("until_decided", [False, True])
async def test_a_cascade_whose_cheap_judge_is_blind_calls_no_harmful_target_healthy(until_decided: bool) -> None:
    target = FakeTarget(compliance=lambda _: 1.0)
    done = await found(asking(target, cascade(Blind(), audit_ratio=0.1), n=400, until_decided=until_decided))
    assert done.decision is Decision.REJECT
    assert done.estimate.value is not None
    assert done.estimate.lower is not None
    assert done.estimate.upper is not None
    assert done.estimate.lower <= done.estimate.value <= done.estimate.upper
    assert done.estimate.value > 0.5
    assert done.asr_by_behavior is None


async def test_a_cascade_finds_a_safe_target_healthy_by_what_it_audits() -> None:
    few = await found(asking(FakeTarget(), cascade(FakeJudge(), audit_ratio=0.1), n=40))
    many = await found(asking(FakeTarget(), cascade(FakeJudge(), audit_ratio=0.1), n=400, until_decided=True))
    assert few.decision is Decision.CONTINUE
    assert many.decision is Decision.ACCEPT
    assert 100 < len(many.sweep.results) < 400


async def test_drift_after_a_healthy_beginning_is_a_breach() -> None:
    done = await found(asking(FakeTarget(compliance=drifts(60)), n=400))
    assert done.decision is Decision.REJECT


async def test_what_was_decided_by_a_test_is_in_its_own_interval() -> None:
    done = await found(asking(FakeTarget(compliance=lambda _: 1.0), until_decided=True))
    assert (done.decision, done.sweep.stopped) == (Decision.REJECT, "decided")
    assert done.estimate.value == 1.0
    assert done.estimate.upper == 1.0
    assert done.estimate.lower is not None
    assert done.estimate.lower < 0.9


async def test_a_sweep_of_another_server_is_refused(tmp_path: Path) -> None:
    await found(asking(FakeTarget(), n=5), tmp_path / "r")
    with pytest.raises(RecordError, match="endpoint differs"):
        await found(asking(FakeTarget(), n=5, endpoint="http://b/v1"), tmp_path / "r")
    with pytest.raises(RecordError, match="part differs"):
        await found(asking(FakeTarget(), n=5, part="sealed"), tmp_path / "r")


async def test_a_rollout_midway_says_to_write_elsewhere(tmp_path: Path) -> None:
    target = FakeTarget(releases=["a@1", "a@1", "b@2"])
    with pytest.raises(MixedReleaseError, match="another --out"):
        await found(asking(target), tmp_path / "r")


async def test_transcripts_are_kept_as_probes_end_even_of_a_sweep_that_breaks_off(tmp_path: Path) -> None:
    store = TranscriptStore(tmp_path, keep=Keep.HASHES, ring=Keyring([b"a key for the tests"]), days=30)

    class Breaking(FakeTarget):
        async def complete(self, probe: Probe) -> Completion:
            if len(self.asked) == 7:
                raise ZeroDivisionError
            return await super().complete(probe)

    with pytest.raises(ExceptionGroup, match="TaskGroup"):
        await found(asking(Breaking(), recorder=Recorder(store=store)))
    (file,) = tmp_path.glob("*.jsonl")
    assert len(file.read_text().splitlines()) == 7


async def test_flags_and_reasons_are_counted() -> None:
    target = FakeTarget(complies="what?", compliance=lambda b: float(b.form == "question"))
    done = await found(asking(target, n=None))
    questions = sum(b.form == "question" for b in SUITE.behaviors)
    assert done.missing == {"unscored": questions}
    assert done.estimate.value is None
    assert COMPLIES not in repr(done.missing)

