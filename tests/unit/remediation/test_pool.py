"""The rotating pool: private, without repeats, and safe on disk."""

from __future__ import annotations

import os
import stat
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from probes.behavior import Behavior, BehaviorId
from probes.suites import builtin
from remediation.errors import PatchFailed
from remediation.lessons.pool import (
    PoolState,
    burn,
    draw,
    give_back,
    held_out,
    load_key,
    read_state,
    site_pool,
    write_state,
)

KEYS = st.text(min_size=1, max_size=8)


def behaviors(count: int) -> tuple[Behavior, ...]:
    return tuple(Behavior(id=BehaviorId(f"b{i}"), prompt=f"p{i}", category="c") for i in range(count))


@settings(deadline=None, max_examples=50)
@given(size=st.integers(1, 30), counts=st.lists(st.integers(1, 6), max_size=20), key=KEYS)
def test_nothing_is_drawn_twice_before_all_was_drawn(size: int, counts: list[int], key: str) -> None:
    pool, state = behaviors(size), PoolState()
    drawn: Counter[BehaviorId] = Counter()
    for count in (min(c, size) for c in counts):
        taken, state = draw(pool, state, count, key=key)
        assert len({b.id for b in taken}) == count
        drawn.update(b.id for b in taken)
        times = [drawn[b.id] for b in pool]
        assert max(times) - min(times) <= 1, "each comes once a round"


@settings(deadline=None, max_examples=50)
@given(
    size=st.integers(2, 20),
    burnt=st.sets(st.integers(0, 19)),
    counts=st.lists(st.integers(1, 3), max_size=12),
    key=KEYS,
)
def test_burnt_ones_stay_away_while_others_are_left(size: int, burnt: set[int], counts: list[int], key: str) -> None:
    pool = behaviors(size)
    lost = {BehaviorId(f"b{i}") for i in burnt if i < size}
    state, left = burn(PoolState(), lost), size - len(lost)
    for count in counts:
        if count > left:
            break
        taken, state = draw(pool, state, count, key=key)
        assert not lost & {b.id for b in taken}
        assert state.burnt == lost
        left -= count


@settings(deadline=None, max_examples=50)
@given(size=st.integers(1, 12), key=KEYS, count=st.integers(1, 12))
def test_an_exhausted_pool_begins_a_new_round(size: int, key: str, count: int) -> None:
    pool, count = behaviors(size), min(count, size)
    ids = frozenset(b.id for b in pool)
    for spent in (PoolState(used=ids), PoolState(burnt=ids)):
        taken, after = draw(pool, spent, count, key=key)
        assert len(taken) == count
        assert after == PoolState(draws=1, used=frozenset(b.id for b in taken))


@settings(deadline=None, max_examples=50)
@given(key=KEYS, other=KEYS, seed=st.integers(0, 1000))
def test_the_key_and_the_counter_decide(key: str, other: str, seed: int) -> None:
    pool = behaviors(40)
    first = draw(pool, PoolState(draws=seed), 10, key=key)
    assert first == draw(tuple(reversed(pool)), PoolState(draws=seed), 10, key=key), "the pool's order does not matter"
    if key != other:
        assert first[0] != draw(pool, PoolState(draws=seed), 10, key=other)[0]
    assert first[0] != draw(pool, PoolState(draws=seed + 1), 10, key=key)[0]


def test_every_example_is_as_likely() -> None:
    pool = behaviors(10)
    firsts = Counter(draw(pool, PoolState(), 1, key=f"site-{i}")[0][0].id for i in range(2000))
    assert len(firsts) == 10
    assert max(abs(n - 200) for n in firsts.values()) < 5 * (2000 * 0.1 * 0.9) ** 0.5


def test_a_pool_gives_no_more_than_it_has_and_wants_a_key() -> None:
    with pytest.raises(PatchFailed, match="has 2 examples and 3 are asked for"):
        draw(behaviors(2), PoolState(), 3, key="k")
    with pytest.raises(ValueError, match="site key"):
        draw(behaviors(2), PoolState(), 1, key="")


def test_what_was_not_learnt_from_goes_back() -> None:
    pool = behaviors(4)
    taken, state = draw(pool, PoolState(), 4, key="k")
    state = give_back(state, [taken[0].id])
    again, _ = draw(pool, state, 1, key="k")
    assert again == (taken[0],)


def test_held_out_requests_are_spread_over_forms_and_categories() -> None:
    pool = builtin("dsafe").behaviors
    held, rest = held_out(pool, 12, key="k")
    assert len(held) == 12
    assert set(held) | set(rest) == set(pool)
    assert not set(held) & set(rest)
    share = sum(b.form == "question" for b in pool) / len(pool)
    assert abs(sum(b.form == "question" for b in held) - 12 * share) <= 1
    assert len({b.category for b in held}) >= min(9, len({b.category for b in pool}))
    assert held != held_out(pool, 12, key="l")[0]
    with pytest.raises(PatchFailed, match="no candidate"):
        held_out(pool[:3], 3, key="k")


def test_the_site_s_own_pool(tmp_path: Path) -> None:
    file = tmp_path / "pool.txt"
    file.write_text("Do a bad thing.\nAt once.\n---\nHow does one do it?\n---\n\n---\nDo a bad thing.\nAt once.\n")
    first, second = site_pool(file)
    assert (first.prompt, first.form, second.form) == ("Do a bad thing.\nAt once.", "imperative", "question")
    file.write_text("New one.\n---\n" + file.read_text())
    assert {first, second} < set(site_pool(file)), "ids do not depend on the place"
    file.write_text(" \n---\n")
    with pytest.raises(PatchFailed, match="has no prompt"):
        site_pool(file)
    with pytest.raises(PatchFailed, match="can't be read"):
        site_pool(tmp_path / "none.txt")


def test_state_survives_disk_and_damage_is_named(tmp_path: Path) -> None:
    file = tmp_path / "pool.json"
    assert read_state(file) == PoolState()
    state = PoolState(draws=3, used=frozenset({BehaviorId("a")}), burnt=frozenset({BehaviorId("b")}))
    write_state(file, state)
    assert read_state(file) == state
    assert [p.name for p in tmp_path.iterdir()] == ["pool.json"]
    for damaged in ('{"draws": 3', '{"version":2,"draws":3,"used":[],"burnt":[]}', '{"draws":-1,"used":[],"burnt":[]}'):
        file.write_text(damaged)
        with pytest.raises(PatchFailed, match=r"pool\.json can't be read"):
            read_state(file)


def test_a_state_that_can_not_be_written_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "pool.json").mkdir()
    with pytest.raises(PatchFailed, match="can't be written"):
        write_state(tmp_path / "pool.json", PoolState())
    assert [p.name for p in tmp_path.iterdir()] == ["pool.json"]
    with pytest.raises(PatchFailed, match="can't be written"):
        write_state(tmp_path / "none" / "pool.json", PoolState())


def test_the_key_is_made_once_and_is_nobody_else_s(tmp_path: Path) -> None:
    file = tmp_path / "key"
    key = load_key(file)
    assert len(key) == 64
    assert key == load_key(file)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert [p.name for p in tmp_path.iterdir()] == ["key"]
    file.write_text("\n")
    with pytest.raises(PatchFailed, match="is empty"):
        load_key(file)
    with pytest.raises(PatchFailed, match="can't be read or made"):
        load_key(tmp_path / "none" / "key")


def test_a_key_that_another_repair_makes_meanwhile_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "key"
    linked = os.link

    def late(made: str, to: Path) -> None:
        file.write_text("theirs")
        linked(made, to)

    monkeypatch.setattr(os, "link", late)
    assert load_key(file) == "theirs"
    assert [p.name for p in tmp_path.iterdir()] == ["key"]
