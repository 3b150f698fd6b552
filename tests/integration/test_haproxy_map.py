"""A map of a real HAProxy is changed in its memory and in its file."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from deploy.errors import DeployerUnavailable, StageError
from deploy.steer_testing import check_steer
from deploy.vllm.child import free_port
from deploy.vllm.gateways import HaproxyMap, HaproxyMapOptions


@pytest.fixture
def steer(tmp_path: Path) -> HaproxyMap:
    (tmp_path / "models.map").write_text("# public name, model\nother x@1\n")
    return HaproxyMap(
        HaproxyMapOptions(kind="haproxy-map", socket=tmp_path / "admin", map=tmp_path / "models.map", model="prod")
    )


@pytest.fixture
async def haproxy(tmp_path: Path, steer: HaproxyMap, program: Callable[[str], str]) -> AsyncIterator[Path]:
    file = tmp_path / "haproxy.cfg"
    file.write_text(
        f"""global
  stats socket {tmp_path}/admin mode 600 level admin
defaults
  mode http
  timeout client 5s
  timeout server 5s
  timeout connect 5s
frontend users
  bind 127.0.0.1:{free_port()}
  http-request return status 200 hdr x-model "%[str(prod),map({tmp_path}/models.map,none)]"
"""
    )
    command = [program("haproxy"), "-db", "-f", str(file)]
    process = await asyncio.create_subprocess_exec(*command, stderr=subprocess.DEVNULL)
    end = asyncio.get_running_loop().time() + 20
    while not (tmp_path / "admin").exists():
        assert asyncio.get_running_loop().time() < end
        await asyncio.sleep(0.05)
    yield tmp_path
    process.terminate()
    await process.wait()


async def test_a_map_keeps_the_port(steer: HaproxyMap, haproxy: Path) -> None:
    assert await steer.aimed() == ""
    await check_steer(steer, "a@1", "b@2")
    assert (haproxy / "models.map").read_text().splitlines() == ["# public name, model", "other x@1", "prod a@1"]


async def test_what_a_map_can_not_hold_is_refused(steer: HaproxyMap, haproxy: Path) -> None:
    await steer.aim("a@1")
    for model in ("a b", "a\nshow info", "", "a;b"):
        with pytest.raises(StageError, match="can't stand in a map"):
            await steer.aim(model)
    assert await steer.aimed() == "a@1"


async def test_a_map_that_haproxy_does_not_know_is_said(steer: HaproxyMap, haproxy: Path) -> None:
    other = HaproxyMap(
        HaproxyMapOptions(kind="haproxy-map", socket=haproxy / "admin", map=haproxy / "other.map", model="prod")
    )
    with pytest.raises(DeployerUnavailable, match="Unknown map"):
        await other.aimed()


async def test_an_haproxy_that_is_down_is_unavailable(steer: HaproxyMap) -> None:
    with pytest.raises(DeployerUnavailable, match=r"can't be reached \(No such file or directory\); start HAProxy"):
        await steer.aimed()
