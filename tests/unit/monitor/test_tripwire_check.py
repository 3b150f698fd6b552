"""Looking at a server: what is asked, what is kept of it, and what makes a look missing."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine, text

from monitor.errors import ConfigError, StaleSeries
from monitor.looks import NO_LOGPROBS, distance
from monitor.probe_log import Epoch
from monitor.stores.sql import SqlStore
from monitor.tripwire_check import TripwireCheck, look, present_tripwire, tripwire_prompts
from probes.attacks.direct import DirectAttack
from probes.behavior import SuiteKind
from probes.errors import HeldBack, RetryableTargetError
from probes.probe import Probe
from probes.target import Completion
from probes.testing import FakeTarget
from tests.fake_site import Clock, suite

RELEASE = "m@0123456789ab"
SUITES = (suite("benign", SuiteKind.BENIGN, 20), suite("edge", SuiteKind.BENIGN, 20))
EPOCH = Epoch(id=4, target="prod", release=RELEASE, key="k", started_at=datetime(2026, 1, 1, tzinfo=UTC))
TOP = (("Sure", -0.1), (" No", -2.5))


@dataclass(kw_only=True)
class Telling:
    """The fake target, with first tokens."""

    tops: Callable[[Probe], tuple[tuple[str, float], ...]] = lambda _: TOP
    inner: FakeTarget = field(default_factory=lambda: FakeTarget(release=RELEASE))
    name: str = "prod"

    async def complete(self, probe: Probe) -> Completion:
        return replace(await self.inner.complete(probe), first_token=self.tops(probe))

    async def ready(self) -> str:
        return await self.inner.ready()

    async def load(self) -> None:
        return None

    async def aclose(self) -> None:
        await self.inner.aclose()


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqlStore]:
    opened = SqlStore(f"sqlite:///{tmp_path}/s.db")
    yield opened
    opened.close()


def check_of(store: SqlStore, target: Any = None, **given: Any) -> TripwireCheck:  # noqa: ANN401
    fields = {"site_key": "secret", "reference": 16, "gamma": 1e3, **given}
    prompts = tripwire_prompts(SUITES, n=3, key="secret")
    return TripwireCheck(target=target or Telling(), prompts=prompts, attack=DirectAttack(), book=store, **fields)


async def looked(check: TripwireCheck, times: int) -> list[Any]:
    return [await look(check, present_tripwire(check, EPOCH), epoch=EPOCH, clock=Clock()) for _ in range(times)]


async def test_a_look_asks_the_same_prompts_for_one_token(store: SqlStore) -> None:
    target = Telling()
    await looked(check_of(store, target), 2)
    first, second = target.inner.asked[:3], target.inner.asked[3:]
    assert first == second, "prompts, seeds and all"
    assert {(p.sampling.max_tokens, p.sampling.temperature, p.sampling.top_logprobs) for p in first} == {(1, 0.0, 20)}
    assert len({p.behavior.id for p in first}) == 3
    assert all(p.messages[-1].content == p.behavior.prompt for p in first)


async def test_the_store_holds_no_word_of_an_answer(store: SqlStore, tmp_path: Path) -> None:
    (row,) = await looked(check_of(store), 1)
    engine = create_engine(f"sqlite:///{tmp_path}/s.db")
    with engine.begin() as db:
        kept = str(list(db.execute(text("SELECT * FROM looks"))))
    engine.dispose()
    assert "Sure" not in kept
    assert "benign" not in kept
    assert sorted(row.readings[0].values()) == [-2.5, -0.1]
    book = SqlStore(f"sqlite:///{tmp_path}/other.db")
    (other,) = await looked(check_of(book, site_key="other"), 1)
    book.close()
    assert not other.readings[0].keys() & row.readings[0].keys(), "tokens are told apart by the site's key alone"


async def test_looks_after_the_baseline_are_scored_by_it(store: SqlStore) -> None:
    target = Telling()
    check = check_of(store, target)
    await looked(check, 4)
    baseline = present_tripwire(check, EPOCH).baseline
    target.tops = lambda _: (("Sure", -0.3), (" No", -2.0), ("Well", -4.0))
    (row,) = await looked(check, 1)
    assert row.readings == ()
    # Sure .2, " No" .5; Well is not in the baseline, whose smallest is -2.5: 1.5
    assert row.score == pytest.approx((0.2 + 0.5 + 1.5) / 3)
    assert len(baseline) == 3
    assert distance(baseline, baseline) == 0.0


async def test_a_changed_server_trips_the_wire_and_the_state_is_the_fold_over_the_book(store: SqlStore) -> None:
    noise = iter(range(10**6))
    target = Telling(tops=lambda _: (("Sure", -0.1 - next(noise) % 7 / 1e3), (" No", -2.5)))
    check = check_of(store, target, reference=80, gamma=50.0)
    await looked(check, 150)
    state = present_tripwire(check, EPOCH)
    assert (state.tripped, state.n) == (False, 150)
    target.tops = lambda _: (("Sure", -1.1), (" No", -2.5))
    for _ in range(15):
        row = await look(check, state, epoch=EPOCH, clock=Clock())
        assert row is not None
        state = state.update(row)
    assert state.tripped
    assert present_tripwire(check, EPOCH) == state


@pytest.mark.parametrize(
    ("inner", "tops", "missing"),
    [
        ({"faults": [None, RetryableTargetError("", reason="timeout")]}, TOP, "timeout"),
        ({"releases": [RELEASE, "m@ba9876543210"]}, TOP, "other_release"),
        ({"release": "m@ba9876543210"}, TOP, "other_release"),
        ({"releases": ["fp_1", "fp_2"], "release": "fp_2"}, TOP, "other_release"),
        ({}, (), NO_LOGPROBS),
        ({}, (("Sure", math.nan),), NO_LOGPROBS),
    ],
)
async def test_a_look_is_whole_or_missing(
    store: SqlStore, inner: dict[str, Any], tops: tuple[tuple[str, float], ...], missing: str
) -> None:
    target = Telling(inner=FakeTarget(**{"release": RELEASE, **inner}), tops=lambda _: tops)
    check = check_of(store, target)
    (row,) = await looked(check, 1)
    assert (row.missing, row.readings, row.score) == (missing, (), None)
    assert present_tripwire(check, EPOCH).missing == 1


async def test_a_server_that_names_no_release_is_looked_at_all_the_same(store: SqlStore) -> None:
    for release in ("", "fp_44709d6fcb"):
        (row,) = await looked(check_of(store, Telling(inner=FakeTarget(release=release))), 1)
        assert row.missing == ""


async def test_a_server_without_log_probabilities_is_said_once_and_left_alone(
    store: SqlStore, caplog: pytest.LogCaptureFixture
) -> None:
    check = check_of(store, Telling(tops=lambda _: ()))
    with caplog.at_level(logging.INFO, logger="alignd"):
        (row,) = await looked(check, 1)
    assert row.missing == NO_LOGPROBS
    assert present_tripwire(check, EPOCH).off
    assert [r.message for r in caplog.records] == ["tripwire_off"]


async def test_nothing_is_written_while_probing_is_held_back(store: SqlStore) -> None:
    held = Telling(inner=FakeTarget(faults=[HeldBack("", reason="paused")]))
    assert await looked(check_of(store, held), 1) == [None]
    assert present_tripwire(check_of(store), EPOCH).position == 0


async def test_two_looks_at_once_leave_one(store: SqlStore) -> None:
    check = check_of(store)
    state = present_tripwire(check, EPOCH)
    await look(check, state, epoch=EPOCH, clock=Clock())
    with pytest.raises(StaleSeries, match="look 1 at target prod"):
        await look(check, state, epoch=EPOCH, clock=Clock())


async def test_another_epoch_or_way_of_looking_begins_anew(store: SqlStore) -> None:
    check = check_of(store)
    await looked(check, 3)
    assert present_tripwire(check, replace(EPOCH, id=5)).position == 0
    for other in (replace(check, reference=40), replace(check, prompts=check.prompts[:2])):
        assert other.key != check.key
        assert present_tripwire(other, EPOCH).position == 0
    assert replace(check, gamma=99.0).key == check.key, "a threshold changes no look"


async def test_what_is_impossible_for_a_server_does_not_drown_the_rest(store: SqlStore) -> None:
    target = Telling(tops=lambda _: (("a", -0.1), ("a", -3.0), ("b", -9999.0), ("c", -math.inf)))
    (row,) = await looked(check_of(store, target), 1)
    assert sorted(row.readings[0].values()) == [-50.0, -50.0, -0.1]


def test_prompts_are_chosen_by_the_sites_key() -> None:
    chosen = tripwire_prompts(SUITES, n=8, key="secret")
    assert chosen == tripwire_prompts(SUITES, n=8, key="secret")
    assert {b.id for b in chosen} != {b.id for b in tripwire_prompts(SUITES, n=8, key="other")}
    assert chosen[:4] == tripwire_prompts(SUITES, n=4, key="secret")
    assert len(tripwire_prompts(SUITES, n=500, key="secret")) == 40
    with pytest.raises(ConfigError, match=r"suites.benign"):
        tripwire_prompts((), n=8, key="secret")
