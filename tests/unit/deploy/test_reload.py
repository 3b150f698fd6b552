"""Weights that change in place are proved before users see them, whoever dies on the way."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from deploy.canary import stored_canary, write_canary
from deploy.checkpoint import Release, list_releases
from deploy.errors import Fenced, StageError
from deploy.testing import check_deployer
from deploy.vllm.admin import admin_token
from deploy.vllm.hold import TOKEN_FILE
from deploy.vllm.reload import Options, ReloadDeployer
from deploy.vllm.reload_journal import Journal, Outcome, desired_release, write_desired
from tests.fake_reload_server import FakeVllm
from tests.unit.deploy.test_testing import release

FAKE = Path(__file__).parents[2] / "fake_reload_server.py"
ROUTES = ("/pause", "/collective_rpc", "/reset_prefix_cache", "/update_weight_version", "/resume")


@dataclass
class Site:
    server: FakeVllm
    options: Options
    first: Release
    second: Release

    def deployer(self, **changed: object) -> ReloadDeployer:
        return ReloadDeployer(self.options.model_copy(update=changed), command=self.scratch)

    def scratch(self, _: str) -> object:
        token = self.options.state / "scratch" / "admin-token"

        def command(held: Release, port: int) -> Sequence[str]:
            return (sys.executable, str(FAKE), "m", str(held.path), held.id, str(port), str(token))

        return command

    async def ask(self, http: httpx.AsyncClient, **more: object) -> httpx.Response:
        return await http.post(f"{self.server.url}/v1/completions", json={"model": "m", "prompt": "hi", **more})

    def journal(self) -> Journal:
        found = Journal.read(self.options.state)
        assert found
        return found

    def knows_second(self) -> None:
        """Keep the second release's canary as a scratch server would, without starting one."""
        self.known(self.second)

    def known(self, held: Release) -> None:
        beside = FakeVllm(path=held.path, name=held.id)
        beside.start()
        token = admin_token(self.options.state)
        from deploy.vllm.client import replica

        async def take() -> None:
            async with replica(beside.url, model="m", token=token) as server:
                write_canary(self.options.releases, await server.canary(held.id, dtype="float32", server="vllm 0.32.0"))

        asyncio.run(take())
        beside.stop()


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    state, store = tmp_path / "state", tmp_path / "store"
    state.mkdir()
    admin_token(state)
    first, second = (release(tmp_path, n) for n in ("first", "second"))
    monkeypatch.setenv(TOKEN_FILE, str(state / "admin-token"))
    monkeypatch.setenv("PYTHONPATH", str(FAKE.parents[1]))
    server = FakeVllm(path=first.path.resolve(), name=first.id)
    server.start()
    write_desired(state, first.id)
    options = Options(
        url=server.url, model="m", releases=store, state=state, drain_seconds=2.0, step_seconds=5.0, hold_seconds=10.0,
        start_seconds=20.0, restart_seconds=2.0,
    )  # fmt: skip
    made = Site(server=server, options=options, first=first, second=second)
    made.knows_second()
    yield made
    server.stop()


@pytest.fixture
async def http() -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(timeout=20.0) as client:
        yield client


async def test_it_keeps_the_port(tmp_path: Path, site: Site) -> None:
    third, changed = (release(tmp_path, n) for n in ("third", "changed"))
    (changed.path / "config.json").write_text("{}")
    deployer = site.deployer()
    await check_deployer(deployer, site.second, third, changed=changed)
    assert site.server.path == site.second.path.resolve()
    assert desired_release(site.options.state) == site.second.id
    assert {r.id for r in list_releases(site.options.releases)} >= {site.first.id, third.id}, "no canary in a release"
    assert stored_canary(site.options.releases, third.id, dtype="float32")
