"""Which releases stay: what is served, gone back to or worked on always does."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from deploy.checkpoint import CheckpointManifest, Release, ReleaseKind, import_checkpoint, release_names
from deploy.errors import CheckpointError, StoreInUse
from deploy.retention import InUse, kept, remove_releases, sweeping_store, using_store
from deploy.signing import signature_of
from tests.unit.deploy.test_checkpoint import write_checkpoint

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def release(number: int, *, parent: str = "", base: str = "") -> Release:
    manifest = CheckpointManifest(
        name="m", digest=f"{number:012d}", architecture="A", parent=parent, creator="import", incident="",
        created_at=NOW + timedelta(hours=number), files=(), base=base,
        kind=ReleaseKind.ADAPTER if base else ReleaseKind.MERGED,
    )  # fmt: skip
    return Release(id=identity(number), path=Path("/store"), manifest=manifest)


def identity(number: int) -> str:
    return f"m@{number:012d}"


def test_each_reason_keeps_its_release() -> None:
    releases = [release(i, parent=identity(i - 1)) for i in range(1, 30)]
    use = InUse(
        active=identity(10), warm=(identity(12),), good=(identity(7), identity(4), identity(2)),
        incidents=(identity(14), "elsewhere@000000000000"),
    )  # fmt: skip
    assert kept(releases, [use], keep=1) == {
        identity(10): "active", identity(14): "open incident", identity(7): "last known good",
        identity(4): "predecessor of the last known good", identity(12): "warm or named by the settings",
        identity(9): f"parent of {identity(10)}", identity(6): f"parent of {identity(7)}",
        identity(29): "one of the 1 newest",
    }  # fmt: skip


def test_a_kept_adapter_keeps_its_base() -> None:
    releases = [release(1), release(2), release(3, base=identity(1))]
    assert set(kept(releases, [], keep=1)) == {identity(3), identity(1)}
    assert set(kept(releases, [], keep=0)) == set()


numbers = st.integers(1, 20)
ids = st.one_of(numbers.map(identity), st.just(""), st.just("elsewhere@000000000000"))


@st.composite
def worlds(draw: st.DrawFn) -> tuple[list[Release], list[InUse], int]:
    present = draw(st.sets(numbers, max_size=12))
    bases = st.one_of(st.just(""), numbers.map(identity))
    releases = [release(i, parent=draw(ids), base=draw(bases)) for i in present]
    uses = draw(
        st.lists(
            st.builds(
                InUse, active=ids, warm=st.lists(ids, max_size=3).map(tuple), good=st.lists(ids, max_size=4).map(tuple),
                incidents=st.lists(ids, max_size=3).map(tuple),
            ),
            max_size=3,
        )
    )  # fmt: skip
    return draw(st.permutations(releases)), uses, draw(st.integers(0, 6))


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])  # CI shares its processors
@given(worlds())
def test_nothing_that_is_needed_is_ever_removed(world: tuple[list[Release], list[InUse], int]) -> None:
    releases, uses, keep = world
    by_id = {r.id: r for r in releases}
    stays = kept(releases, uses, keep=keep)
    assert stays.keys() <= by_id.keys()
    for use in uses:
        needed = {use.active, *use.warm, *use.good[:2], *use.incidents}
        needed |= {by_id[r].manifest.parent for r in (use.active, *use.good[:1]) if r in by_id}
        assert needed & by_id.keys() <= stays.keys()
    newest = sorted(releases, key=lambda r: r.manifest.created_at)[-keep:] if keep else []
    assert {r.id for r in newest} <= stays.keys()
    assert {by_id[r].manifest.base for r in stays} & by_id.keys() <= stays.keys()
    if not uses and not any(r.manifest.base for r in releases):
        assert stays.keys() == {r.id for r in newest}, "what nobody needs can go"


def test_removal_takes_the_signature_too_and_clears_scratch(tmp_path: Path) -> None:
    store = tmp_path / "store"
    sources = [write_checkpoint(tmp_path / n, data=n.encode() * 8) for n in "ab"]
    a, b = (import_checkpoint(s, store, name=s.name, created_at=NOW) for s in sources)
    (store / ".signatures").mkdir()
    signature_of(store, a.id).write_text("")
    (store / ".c@0.1234.partial").mkdir()
    assert remove_releases(store, [a.id]) == (a.id, ".c@0.1234.partial")
    assert release_names(store) == (b.id,)
    assert not list((store / ".signatures").iterdir())
    with pytest.raises(CheckpointError, match="can't be removed"):
        remove_releases(store, [a.id])


def test_a_store_in_use_is_not_swept_and_one_that_is_swept_not_used(tmp_path: Path) -> None:
    with using_store(tmp_path), using_store(tmp_path), pytest.raises(StoreInUse), sweeping_store(tmp_path):
        pass
    with sweeping_store(tmp_path), pytest.raises(StoreInUse), using_store(tmp_path):
        pass
