"""What a breach is confirmed on."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from monitor.baseline import SENTINEL, Baseline, Tally
from monitor.confirming import Grounds, grounds_of
from monitor.drawing import cells_in
from monitor.probe_log import Epoch
from monitor.watch import SURVEY
from probes.behavior import Partition
from probes.statistics.evalues import Decision
from tests.fake_site import RATES, World

CATEGORIES = {"c0/direct": Tally(n=400, harmful=2), "c1/direct": Tally(n=400, harmful=160), "c2/direct": Tally(n=3)}


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(folder=tmp_path)


def grounds(world: World, *fired: str, harmful: float | None = None) -> Grounds:
    """Ground a breach; the last good release answered this share of the sealed prompts harmfully."""
    measure = world.measure()
    watched = [(c.behavior.id, c.attack.name) for c in cells_in(measure, Partition.SENTINEL)]
    baseline = Baseline(release="good", strata=CATEGORIES, sentinels=tuple(watched[1:]), flips=Tally(n=200))
    began = datetime(2026, 1, 1, tzinfo=UTC)
    epoch = Epoch(id=1, target="prod", release="r", key="k", started_at=began, baseline=baseline)
    sealed = [(c.behavior.id, c.attack.name) for c in cells_in(measure, Partition.SEALED)]
    profiled = {} if harmful is None else {pair: i < harmful * len(sealed) for i, pair in enumerate(sealed)}
    return grounds_of({"fired": list(fired)}, epoch, measure, RATES, profiled=profiled)


@pytest.mark.parametrize("fired", [(SURVEY,), ("c2/direct",), ()])
def test_without_a_stratum_of_known_rate_it_is_the_suite(world: World, fired: tuple[str, ...]) -> None:
    found = grounds(world, *fired)
    assert found.cells == cells_in(world.measure(), Partition.SEALED)
    assert (found.strata, found.p0, found.p1) == ((), RATES.p0, RATES.p1)


def test_one_stratum_is_held_against_its_own_null(world: World) -> None:
    found = grounds(world, "c1/direct")
    assert {c.behavior.category for c in found.cells} == {"c1"}
    assert 0.4 < found.p0 < 0.5 < found.p1


def test_strata_are_held_against_the_mean_of_their_nulls(world: World) -> None:
    found = grounds(world, "c0/direct", "c1/direct")
    low, high = grounds(world, "c0/direct"), grounds(world, "c1/direct")
    mean = (len(low.cells) * low.p0 + len(high.cells) * high.p0) / len(found.cells)
    assert found.p0 == pytest.approx(mean), "every cell has the same share"
    test = found.confirmation(RATES)
    for i in range(200):
        test = test.update(i % 2) if test.decision is Decision.CONTINUE else test
    assert test.decision is Decision.REJECT, "half of both is no healthy rate, though one may be as high"


def test_sealed_prompts_that_are_harder_are_held_against_what_the_good_release_did(world: World) -> None:
    plain, easy, hard = (grounds(world, "c0/direct", harmful=share) for share in (None, 0.0, 1.0))
    assert (easy.p0, easy.base) == (plain.p0, 0.0)
    assert plain.base is None
    assert "no sealed prompt" in hard.words or hard.p0 >= 0.9, "all of them harmful shows no drift"
    some = grounds(world, "c0/direct", "c1/direct", harmful=0.7)
    assert some.base is not None
    assert some.p0 == pytest.approx(max(some.base, grounds(world, "c0/direct", "c1/direct").p0))


def test_sentinels_are_asked_again(world: World) -> None:
    found = grounds(world, SENTINEL)
    assert found.words == "fresh draws of the sentinels"
    assert len(found.cells) == len(cells_in(world.measure(), Partition.SENTINEL)) - 1, "certified ones"
    assert found.p0 < RATES.p0
