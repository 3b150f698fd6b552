"""Routine sweeps: survey, hunt and sentinels, each with the probability that it was drawn with."""

from __future__ import annotations

from collections import Counter

import pytest

from probes.behavior import Behavior, BehaviorId, Suite, SuiteKind
from probes.errors import SuiteError
from probes.plan import Cell, Routine, WeightedAttack, cells_of, plan_draws, plan_routine
from probes.probe import Probe, Sampling
from probes.result import SweepId
from tests.unit.probes.test_plan import mixture

BEHAVIORS = tuple(Behavior(id=BehaviorId(f"b{i}"), prompt=f"p{i}", category=f"c{i % 4}") for i in range(40))
SUITE = Suite(name="harm", kind=SuiteKind.HARM, behaviors=BEHAVIORS, sha256="x")
ATTACKS: tuple[WeightedAttack, ...] = mixture(1.0, 3.0)
CELLS = cells_of(BEHAVIORS, ATTACKS)
NAMES = [a.attack.name for a in ATTACKS]


def stratum(category: str, attack: str) -> str:
    return f"{category}/{attack}"


def shares() -> dict[str, float]:
    found: dict[str, float] = {}
    for cell in CELLS:
        name = stratum(cell.behavior.category, cell.attack.name)
        found[name] = found.get(name, 0.0) + cell.share
    return found


def plan(n: int, routine: Routine, sentinels: tuple[Cell, ...] = ()) -> tuple[Probe, ...]:
    return plan_routine(
        SUITE, CELLS, sentinels=sentinels, routine=routine, sweep=SweepId("s"), sampling=Sampling(), key="k", n=n
    )


def test_the_shares_of_all_cells_sum_to_one() -> None:
    assert sum(c.share for c in CELLS) == pytest.approx(1)
    assert sum(c.share for c in CELLS if c.attack.name == NAMES[1]) == pytest.approx(0.75)


def test_without_evidence_everything_is_survey() -> None:
    probes = plan(400, Routine())
    assert {p.stream for p in probes} == {"survey"}
    assert all(p.probability == pytest.approx(p.share) for p in probes)


def test_a_hunt_takes_its_part_and_the_survey_stays_a_fair_sample() -> None:
    hunted = stratum("c2", NAMES[0])
    fair = shares()
    chances = {k: 0.5 * v + 0.5 * (k == hunted) for k, v in fair.items()}
    n = 6000
    probes = plan(n, Routine(stratum_of=stratum, probabilities=chances))
    streams = Counter(p.stream for p in probes)
    assert abs(streams["hunt"] / n - 0.5) < 3 * 0.5 / n**0.5
    assert {stratum(p.behavior.category, p.attack) for p in probes if p.stream == "hunt"} == {hunted}
    survey = [p for p in probes if p.stream == "survey"]
    inside = sum(stratum(p.behavior.category, p.attack) == hunted for p in survey) / len(survey)
    assert abs(inside - fair[hunted]) < 3 * (fair[hunted] / len(survey)) ** 0.5
    for p in probes:
        name = stratum(p.behavior.category, p.attack)
        assert p.probability == pytest.approx(chances[name] / fair[name] * p.share)
    weighed = sum(p.share / p.probability * (p.behavior.id == "b2") for p in probes) / n
    assert abs(weighed - 1 / 40) < 4 * (1 / 40 / n) ** 0.5, "weights undo the hunt"


def test_sentinels_get_their_part() -> None:
    sentinels = (CELLS[0], CELLS[3])
    n = 2000
    probes = plan(n, Routine(sentinel_ratio=0.25), sentinels)
    mine = [p for p in probes if p.stream == "sentinel"]
    assert abs(len(mine) / n - 0.25) < 3 * (0.1875 / n) ** 0.5
    assert {(p.behavior.id, p.attack) for p in mine} == {(c.behavior.id, c.attack.name) for c in sentinels}
    assert sum({(p.behavior.id, p.attack): p.probability for p in mine}.values()) == pytest.approx(1)


def test_the_plan_is_the_same_each_time() -> None:
    assert plan(50, Routine()) == plan(50, Routine())


def test_nothing_to_draw_from_is_refused() -> None:
    with pytest.raises(SuiteError, match="nothing to draw from"):
        plan_draws(SUITE, (), sweep=SweepId("s"), sampling=Sampling(), key="k", n=1)
