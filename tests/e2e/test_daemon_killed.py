"""Killed at each outside effect and each save, one after the other: the next start carries on."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from monitor.incident import Incident, State
from monitor.stores.sql import SqlStore
from tests.e2e.test_daemon_fake import breach, carry_on
from tests.fake_site import GOOD, Ways, World


class Killed(BaseException):
    """As SIGKILL: nothing catches it."""


def killing(at: int) -> tuple[Callable[[str], None], list[str]]:
    seen: list[str] = []

    def hook(name: str) -> None:
        seen.append(name)
        if len(seen) == at:
            raise Killed(name)

    return hook, seen


async def killed_at(folder: Path, at: int, monkeypatch: pytest.MonkeyPatch) -> tuple[World, Incident, bool]:
    """Die at the n-th outside effect or save, start again on the same store, and carry on."""
    world = World(folder=folder, recipes={"weak": Ways(asr=0.9), "mend": GOOD})
    service = world.service()
    incident = await breach(world, service)
    hook, _ = killing(at)
    world.hook = hook
    plain = SqlStore.save

    def save(store: SqlStore, *args: object, **kwargs: object) -> Incident:
        world.hook("save")
        saved = plain(store, *args, **kwargs)  # type: ignore[arg-type]
        world.hook("saved")
        return saved

    monkeypatch.setattr(SqlStore, "save", save)
    died = False
    try:
        done = await carry_on(world, service, incident)
    except (Killed, BaseExceptionGroup):
        died = True
        world.hook = lambda _: None
        service.store.close()
        service = world.service()
        await service.prepare()
        assert len(service.store.incidents(open_only=True)) <= 1
        done = await carry_on(world, service, incident)
    await service.aclose()
    monkeypatch.undo()
    return world, done, died


async def test_killed_at_any_effect_it_carries_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    at, died = 0, True
    while died:
        at += 1
        world, done, died = await killed_at(tmp_path / str(at), at, monkeypatch)
        assert done.state is State.RECOVERED, f"killed at effect {at}: {done.events}"
        assert world.active == done.candidate
        assert [t.recipe for t in done.trials] == ["weak", "mend"]
        assert set(world.promoted) == {world.good.id, done.candidate}
        assert set(world.deployer.up) == {world.good.id, done.candidate}
        twice = {e for e in world.deployer.effects if world.deployer.effects.count(e) > 1}
        assert not twice - {("promote", world.good.id)}, f"killed at effect {at}: {twice}"
        assert not list((tmp_path / str(at) / "releases" / ".work").iterdir())
    assert at > 30
