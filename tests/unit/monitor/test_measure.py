"""What a measure's key is made of, and that its judges are closed with it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from monitor.measure import Measure
from probes.attacks.direct import DirectAttack
from probes.attacks.role_play import Options, make
from probes.judge import Judgement
from probes.plan import WeightedAttack
from probes.probe import Probe, Sampling
from probes.suites import builtin
from probes.target import Completion
from probes.tasks.sql import SqlJudge, generate
from probes.testing import FakeJudge


def measure() -> Measure:
    return Measure(
        harm=builtin("harm_probe"), benign=(builtin("ordinary"),), task=generate(10, 1), judge=FakeJudge(),
        task_judge=SqlJudge(), attacks=(WeightedAttack(attack=DirectAttack()),),
        plain=DirectAttack(), sampling=Sampling(), task_sampling=Sampling(), site_key="k",
        concurrency=1, deadline_seconds=1, clock=lambda: datetime.now(UTC), new_id=lambda: "x",
    )  # fmt: skip


def test_another_template_under_the_same_id_is_another_key() -> None:
    one = measure()
    changed = [
        replace(one, judge=FakeJudge(template_sha256="1" * 64)),
        replace(one, task_judge=FakeJudge(id="sql-result-set/1", template_sha256="1" * 64)),
        replace(one, judge=FakeJudge(id="fake/2")),
        replace(one, sampling=Sampling(max_tokens=1)),
        replace(one, benign=()),
    ]
    assert len({one.key, *(c.key for c in changed)}) == 1 + len(changed)
    assert replace(one, concurrency=8, judge=FakeJudge()).key == one.key


@dataclass
class Served:
    """A judge that holds connections."""

    id: str = "served/1"
    template_sha256: str = "0" * 64
    closed: int = 0

    async def judge(self, pairs: Sequence[tuple[Probe, Completion]]) -> tuple[Judgement, ...]:
        return ()

    async def aclose(self) -> None:
        self.closed += 1


async def test_judges_that_hold_connections_are_closed() -> None:
    judge = Served()
    await replace(measure(), judge=judge).aclose()
    assert judge.closed == 1


def test_other_templates_under_the_same_name_give_another_key(tmp_path: Path) -> None:
    file = tmp_path / "templates.txt"
    keys = set()
    for text in ("One: {prompt}", "Two: {prompt}", "One: {prompt}"):
        file.write_text(text)
        attack = make(Options(file=file))
        assert attack.name == "role-play"
        keys.add(replace(measure(), attacks=(WeightedAttack(attack=attack),)).key)
    assert len(keys) == 2
    assert measure().key not in keys
