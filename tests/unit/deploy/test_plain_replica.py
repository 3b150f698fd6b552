"""Adapters behind a gateway: loaded over vLLM's own routes, the alias last, the fence in the ledger."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from deploy.checkpoint import Release
from deploy.errors import DeployerUnavailable, Fenced, StageError
from deploy.steer_testing import FakeSteer
from deploy.testing import check_deployer, check_layering_deployer
from deploy.vllm.adapter import ReplicaPort, VllmAdapterDeployer
from deploy.vllm.ledger import Ledger
from deploy.vllm.plain_replica import PlainReplica
from tests.adapter_site import AdapterSite
from tests.fake_plain_vllm import FakePlainVllm


@pytest.fixture
def site(tmp_path: Path) -> AdapterSite:
    return AdapterSite.make(tmp_path)


@pytest.fixture
def pair(site: AdapterSite) -> list[FakePlainVllm]:
    return [FakePlainVllm(site.base.id), FakePlainVllm(site.base.id)]


@pytest.fixture
def steer(site: AdapterSite) -> FakeSteer:
    return FakeSteer(site.base.id)


def deployer(site: AdapterSite, steer: FakeSteer, servers: list[FakePlainVllm]) -> VllmAdapterDeployer:
    ledger = Ledger(site.folder / "wanted.json")
    replicas: list[ReplicaPort] = [
        PlainReplica(
            f"http://{i}/v1", http=server.client, headers={}, steer=steer, ledger=ledger, base=site.base.id
        )
        for i, server in enumerate(servers)
    ]
    return VllmAdapterDeployer(replicas, ledger=ledger, fence="claim")


def changed(site: AdapterSite) -> Release:
    release = site.adapter("changed")
    (release.path / "adapter_config.json").write_text("{}")
    return release


@pytest.mark.parametrize("servers", [1, 2])
async def test_it_keeps_the_port(
    site: AdapterSite, steer: FakeSteer, pair: list[FakePlainVllm], servers: int
) -> None:
    one = deployer(site, steer, pair[:servers])
    await check_deployer(one, site.adapter("a"), site.adapter("b"), changed=changed(site))
    await one.promote(site.base)
    assert steer.model == site.base.id
    assert (await one.state()).active == site.base.id
    other = AdapterSite.make(site.folder / "other", name="other")
    await check_layering_deployer(one, other=other.base)


async def test_the_alias_changes_last(site: AdapterSite, steer: FakeSteer, pair: list[FakePlainVllm]) -> None:
    pair[1].rank_max = 8
    high = site.adapter("high", rank=16)
    with pytest.raises(StageError, match=r"http://1/v1: LoRA rank 16 is greater than max_lora_rank 8"):
        await deployer(site, steer, pair).promote(high)
    assert steer.model == site.base.id


async def test_a_restarted_server_is_not_said_to_serve_what_it_lost(
    site: AdapterSite, steer: FakeSteer, pair: list[FakePlainVllm]
) -> None:
    one, a = deployer(site, steer, pair), site.adapter("a")
    await one.promote(a)
    pair[1].start()
    assert (await one.state()).active == ""
    assert await one.lost() == ("http://1/v1",)
    await one.promote(a)
    assert (await one.state()).active == a.id
    assert a.id in pair[1].adapters


@pytest.mark.parametrize("number", [None, math.nan, -math.inf])
async def test_an_adapter_without_numbers_is_unloaded_again(
    site: AdapterSite, steer: FakeSteer, pair: list[FakePlainVllm], number: float | None
) -> None:
    pair[0].number = number
    with pytest.raises(StageError, match="or with no number"):
        await deployer(site, steer, pair[:1]).stage(site.adapter("a"))
    assert pair[0].adapters == {}


async def test_nothing_is_unloaded_where_nobody_knows_what_is_in_flight(
    site: AdapterSite, steer: FakeSteer, pair: list[FakePlainVllm]
) -> None:
    one, a = deployer(site, steer, pair[:1]), site.adapter("a")
    await one.stage(a)
    pair[0].figures = False
    with pytest.raises(DeployerUnavailable, match="answers 403 to /metrics, and its metrics say what is in flight"):
        await one.retire(a.id)
    assert a.id in pair[0].adapters
    pair[0].figures = True
    await one.retire(a.id)
    assert a.id not in pair[0].adapters


async def test_two_daemons_are_fenced(site: AdapterSite, steer: FakeSteer, pair: list[FakePlainVllm]) -> None:
    one, two = deployer(site, steer, pair), deployer(site, steer, pair)
    a, b, c = (site.adapter(n) for n in "abc")
    await one.promote(a)
    await two.promote(b)
    for call in (one.promote(a), one.stage(c), one.retire(a.id)):
        with pytest.raises(Fenced, match="fence 1 is over"):
            await call
    assert steer.model == b.id


async def test_a_release_that_still_answers_is_not_unloaded(
    site: AdapterSite, steer: FakeSteer, pair: list[FakePlainVllm]
) -> None:
    one, a = deployer(site, steer, pair[:1]), site.adapter("a")
    await one.stage(a)
    pair[0].running = {a.id}
    with pytest.raises(StageError, match="still answers requests"):
        await one.retire(a.id)
    pair[0].running = set()
    await one.retire(a.id)
    assert pair[0].adapters == {}


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        ({"loras_max": 1}, "started with --max-loras 1"),
        ({"loads_at_run_time": False}, "loads no adapters at run time; start vLLM with --enable-lora"),
        ({"api_key": "x"}, "does not take the API key"),
        ({"base": "other@0"}, "serves other@0, not prod@"),
    ],
)
async def test_a_server_that_can_not_do_it_says_why(
    site: AdapterSite, steer: FakeSteer, harm: dict[str, object], message: str
) -> None:
    server = FakePlainVllm(site.base.id)
    for name, value in harm.items():
        setattr(server, name, value)
    with pytest.raises((StageError, DeployerUnavailable), match=message):
        await deployer(site, steer, [server]).promote(site.adapter("a"))
    assert steer.model == site.base.id


async def test_a_gateway_that_is_down_is_unavailable(
    site: AdapterSite, steer: FakeSteer, pair: list[FakePlainVllm]
) -> None:
    steer.down = True
    with pytest.raises(DeployerUnavailable, match="the gateway does not answer"):
        await deployer(site, steer, pair).state()


async def test_an_alias_that_somebody_moved_is_not_moved_again(
    site: AdapterSite, steer: FakeSteer, pair: list[FakePlainVllm]
) -> None:
    one, a = deployer(site, steer, pair[:1]), site.adapter("a")
    await one.stage(a)
    steer.model = "elsewhere"
    assert (await one.state()).active == ""
    with pytest.raises(StageError, match="sends requests to elsewhere, not to"):
        await one.promote(a)
    assert steer.model == "elsewhere"
