"""Draws are keyed, i.i.d. over attack and behavior, and say how probable they were."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise

import pytest

from probes.attacks.direct import DirectAttack
from probes.behavior import Behavior
from probes.errors import SuiteError
from probes.plan import KeyedDraws, WeightedAttack, plan_sweep
from probes.probe import Probe, Sampling
from probes.result import SweepId
from probes.suites import builtin
from tests.unit.chi_square import fits

SUITE = builtin("harm_probe")


def mixture(*weights: float) -> list[WeightedAttack]:
    return [WeightedAttack(attack=DirectAttack(name=f"a{i}"), weight=w) for i, w in enumerate(weights)]


def plan(n: int | None, *weights: float, key: str = "k", behaviors: tuple[Behavior, ...] = ()) -> tuple[Probe, ...]:
    return plan_sweep(
        SUITE, behaviors or SUITE.behaviors[:7], sweep=SweepId("s"), attacks=mixture(*weights), sampling=Sampling(),
        key=key, n=n,
    )  # fmt: skip


def test_attack_and_behavior_are_drawn_by_their_weights_and_independently() -> None:
    drawn = plan(7000, 1.0, 3.0)
    counts = Counter((p.attack, p.behavior.id) for p in drawn)
    expected = {(a, b.id): 1000 * w for a, w in (("a0", 0.25), ("a1", 0.75)) for b in SUITE.behaviors[:7]}
    assert fits(counts, expected)
    assert {(p.attack, round(p.probability, 9)) for p in drawn} == {
        ("a0", round(0.25 / 7, 9)), ("a1", round(0.75 / 7, 9)),
    }  # fmt: skip


def test_no_draw_tells_of_the_next() -> None:
    ids = [p.behavior.id for p in plan(7000, 1.0)]
    pairs = Counter(pairwise(ids))
    assert fits(pairs, {(a.id, b.id): 6999 / 49 for a in SUITE.behaviors[:7] for b in SUITE.behaviors[:7]})


def test_each_behavior_once_says_the_attacks_probability() -> None:
    drawn = plan(None, 1.0, 1.0)
    assert [p.behavior for p in drawn] == list(SUITE.behaviors[:7])
    assert {p.probability for p in drawn} == {0.5}


def test_the_key_decides_and_seeds_differ() -> None:
    assert plan(50, 1.0) == plan(50, 1.0)
    assert plan(50, 1.0) != plan(50, 1.0, key="other")
    assert len({p.seed for p in plan(500, 1.0)}) == 500
    assert all(0 <= p.seed < 2**31 for p in plan(500, 1.0))


def test_a_draw_is_the_same_on_every_machine() -> None:
    assert KeyedDraws("key", "stream").bits("0/behavior") == 0x6358A2A089BB746D


@pytest.mark.parametrize("weights", [(), (0.0,), (-1.0, 2.0), (float("nan"),), (float("inf"),)])
def test_weights_that_are_none_are_refused(weights: tuple[float, ...]) -> None:
    with pytest.raises(SuiteError, match=r"weights of attacks|nothing to ask"):
        plan(3, *weights)


def test_nothing_to_draw_from_is_refused() -> None:
    with pytest.raises(SuiteError, match="nothing to ask"):
        plan_sweep(SUITE, [], sweep=SweepId("s"), attacks=mixture(1), sampling=Sampling(), key="k")
