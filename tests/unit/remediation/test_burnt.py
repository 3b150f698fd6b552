"""Burnt examples: verdicts on losses, and a pool that is drawn from until it has none left."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from probes.behavior import Behavior, BehaviorId
from remediation.errors import PatchFailed
from remediation.lessons.burnt import check_burnt, draw_fresh
from remediation.lessons.pool import PoolState

POOL = tuple(Behavior(id=BehaviorId(f"b{i}"), prompt=f"p{i}", category="c") for i in range(8))


@pytest.mark.parametrize(
    ("losses", "asr", "reference", "burnt"),
    [
        ([2.0, 2.5, 0.02, 1.8], 0.95, None, [2]),
        ([2.0, 2.5, 0.02, 1.8], 0.05, None, []),  # a model that refuses has small losses
        ([2.0, 2.5, 0.45, 1.8], 0.95, None, [2]),  # refusal taught in other words
        ([2.0, 2.5, 0.90, 1.8], 0.95, None, []),
        ([0.02, 0.03, 0.02, 2.0], 0.95, None, [0, 1, 2]),  # most are burnt: the floor holds
        ([0.3, 0.4, 0.3, 2.0], 0.95, None, []),  # ... but says nothing of other words
        ([0.3, 0.4, 0.3, 2.0], 0.95, [1.9, 2.0, 1.8, 1.7], [0, 1, 2]),  # the reference does
        ([2.0, 2.5, 0.3, 1.8], 0.95, [0.01, 0.02, 0.01, 0.02], [2]),  # its own words cost the reference nothing
        ([0.1], 0.95, None, [0]),
    ],
)
def test_verdicts(losses: list[float], asr: float, reference: list[float] | None, burnt: list[int]) -> None:
    found = check_burnt(losses, asr=asr, reference=reference)
    assert [i for i, flag in enumerate(found.burnt) if flag] == burnt
    assert found.share == pytest.approx(len(burnt) / len(losses))
    assert found.losses == tuple(losses)


def test_a_check_without_numbers_is_refused() -> None:
    for losses in ([], [1.0, float("nan")]):
        with pytest.raises(ValueError, match="no losses"):
            check_burnt(losses, asr=1.0)


def flagging(burnt: set[str], looked: list[str]) -> object:
    def flags(drawn: Sequence[Behavior]) -> list[bool]:
        looked.extend(b.id for b in drawn)
        return [b.id in burnt for b in drawn]

    return flags


def test_burnt_ones_are_replaced_and_looked_at_once() -> None:
    burnt, looked = {f"b{i}" for i in range(5)}, list[str]()
    taken, state = draw_fresh(POOL, PoolState(), 3, key="k", burnt=flagging(burnt, looked))  # type: ignore[arg-type]
    assert {b.id for b in taken} == {"b5", "b6", "b7"}
    assert len(looked) == len(set(looked))
    assert state.used == {"b5", "b6", "b7"}
    assert state.burnt == burnt & set(looked)


def test_burnt_ones_stay_marked_over_the_end_of_a_round() -> None:
    spent = PoolState(used=frozenset(BehaviorId(f"b{i}") for i in range(7)))
    taken, state = draw_fresh(POOL, spent, 2, key="k", burnt=flagging({"b7"}, []))  # type: ignore[arg-type]
    assert len(taken) == 2
    assert state.burnt == {"b7"}
    assert state.used == {b.id for b in taken}


def test_a_pool_that_is_all_burnt_names_the_way_out() -> None:
    with pytest.raises(PatchFailed, match=r"8 of the pool's 8 .* fresh harmful requests .*restore-subspace"):
        draw_fresh(POOL, PoolState(), 1, key="k", burnt=lambda drawn: [True] * len(drawn))
    with pytest.raises(PatchFailed, match="has 8 examples and 9 are asked for"):
        draw_fresh(POOL, PoolState(), 9, key="k", burnt=lambda drawn: [False] * len(drawn))
