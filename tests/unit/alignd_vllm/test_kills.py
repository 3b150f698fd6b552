"""Killed between any two steps, the server comes back with the old release or the new one, and asking again ends it."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from alignd_vllm.errors import Refused
from alignd_vllm.testing import FakeVllm
from deploy.checkpoint import Release
from tests.adapter_site import AdapterSite

KILLS = 60


class Killed(BaseException):
    """The process is gone: nothing catches it, and nothing that it would have tidied up is trusted."""


@contextmanager
def killed_after(steps: int, vllm: FakeVllm, patch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """Die at one of the steps that reach the disk or the model; each of them may be half done."""
    left = iter(range(steps, -1, -1))
    kills: list[int] = []

    def step() -> None:
        if next(left, 0) == 0:
            kills.append(steps)
            raise Killed

    def stepped(real: object) -> object:
        def call(*args: object, **named: object) -> object:
            step()
            return real(*args, **named)  # type: ignore[operator]

        return call

    vllm.hook = lambda _: step()
    with patch.context() as inside:
        inside.setattr(os, "fsync", stepped(os.fsync))
        inside.setattr(Path, "rename", stepped(Path.rename))
        inside.setattr(Path, "mkdir", stepped(Path.mkdir))
        inside.setattr("shutil.rmtree", lambda *_, **__: None)  # a dead process tidies nothing up
        with suppress(Killed):
            yield kills
    vllm.hook = lambda _: None


async def do(vllm: FakeVllm, verb: str, release: Release) -> None:
    assert vllm.steering
    folder = {"path": str(release.path), "sha256": release.manifest.digest}
    match verb:
        case "stage":
            await vllm.steering.stage(release.id, **folder, fence=9)
        case "activate":
            await vllm.steering.activate(release.id, **folder, fence=9, expect=None)
        case "retire":
            await vllm.steering.retire(release.id, fence=9)
        case "rollback":
            await vllm.steering.rollback(fence=9, expect=vllm.steering.active)


async def test_no_kill_ends_badly(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    site, chosen = AdapterSite.make(tmp_path), random.Random(6)
    releases = [site.base, *(site.adapter(n) for n in "abc")]
    vllm = await site.fake().start(drain_seconds=0.0)
    died = 0
    for _ in range(KILLS):
        assert vllm.steering
        before, release = vllm.steering.active, chosen.choice(releases)
        verb = chosen.choice(["activate", "activate", "stage", "rollback", "retire"])
        allowed = {before, release.id, str(vllm.steering.state()["previous"])} if verb != "stage" else {before}
        if verb == "retire":
            allowed = {before}
        with killed_after(chosen.randrange(8), vllm, monkeypatch) as kills, suppress(Refused):
            await do(vllm, verb, release)
        died += bool(kills)
        await vllm.start(drain_seconds=0.0)
        assert vllm.steering.active in allowed, f"{verb} {release.id}"
        assert vllm.steering.active == vllm.steering.state()["desired"]
        aimed = vllm.names.aim
        assert (site.base.id if aimed is None else aimed.release) == vllm.steering.active  # type: ignore[attr-defined]
        await do(vllm, "activate", release)
        assert vllm.steering.active == release.id
    assert died > KILLS / 4, "the kills come in the middle of things"
