"""What servers hold is held against what they say, and nothing is taken for proof that is none."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from deploy.canary import Canary, stored_canaries, write_canary
from deploy.checkpoint import Release
from deploy.deployer import DeploymentState, ServedRelease
from deploy.errors import DeployerUnavailable, StageError
from deploy.testing import FakeAdapterDeployer, FakeDeployer
from monitor.policy import MENDS_MAX, Mode, may_mend
from monitor.served_check import Served, ServedCheck, check_served, replica_of
from tests.adapter_site import AdapterSite
from tests.unit.deploy.test_testing import release

NOW = datetime(2026, 1, 1, tzinfo=UTC)


@dataclass
class Servers:
    """Says what the weights behind a release say; ``swapped`` names what a server really holds."""

    swapped: dict[str, str] = field(default_factory=dict)
    names: dict[str, str] = field(default_factory=dict)
    fault: Exception | None = None
    asked: list[bool] = field(default_factory=list)

    async def ask(self, served: ServedRelease, ranked: bool) -> Canary:
        self.asked.append(ranked)
        if self.fault:
            raise self.fault
        named = served.release
        said = canary(self.swapped.get(named, named))
        return replace(said, fingerprint=self.names.get(named, named), ranked=ranked)


def canary(held: str) -> Canary:
    return Canary(
        release=held, dtype="", server="", fingerprint=held, tokens=((1, 2),),
        values=((-1.0, -float(sum(held.encode()) % 97)),),
    )  # fmt: skip


@pytest.fixture
def first(tmp_path: Path) -> Release:
    return release(tmp_path, "first")


@pytest.fixture
def second(tmp_path: Path) -> Release:
    return release(tmp_path, "second")


def site(*up: Release) -> tuple[FakeDeployer, Servers]:
    deployer, servers = FakeDeployer(), Servers()
    for one in reversed(up):
        deployer.serve(one)
    return deployer, servers


async def found(tmp_path: Path, deployer: FakeDeployer, servers: Servers) -> list[Served]:
    check = ServedCheck(releases=tmp_path / "store", ask=servers.ask)
    return sorted(await check_served(check, deployer, clock=lambda: NOW), key=lambda s: not s.takes_traffic)


async def test_the_first_canary_of_a_release_is_kept_and_the_next_ones_are_held_against_it(
    tmp_path: Path, first: Release
) -> None:
    deployer, servers = site(first)
    (seen,) = await found(tmp_path, deployer, servers)
    assert (seen.mismatch, seen.unproved) == ("", "its first canary was kept; the next one is held against it")
    assert (seen.release, seen.kind, seen.replica, seen.takes_traffic) == (first.id, "merged", "fake", True)
    (seen,) = await found(tmp_path, deployer, servers)
    assert (seen.mismatch, seen.unproved, seen.log_probability_difference) == ("", "", 0.0)


async def test_a_server_of_the_right_name_with_other_weights_is_seen(
    tmp_path: Path, first: Release, second: Release
) -> None:
    deployer, servers = site(first, second)
    for known in (first, second):
        write_canary(tmp_path / "store", canary(known.id))
    servers.swapped[first.id] = second.id
    wrong, right = await found(tmp_path, deployer, servers)
    assert wrong.mismatch.startswith("log-probabilities up to ")
    assert first.id in wrong.mismatch
    assert (right.mismatch, right.unproved) == ("", "")


async def test_answers_that_name_another_release_are_seen(tmp_path: Path, first: Release) -> None:
    deployer, servers = site(first)
    servers.names[first.id] = "other@0123456789ab"
    (seen,) = await found(tmp_path, deployer, servers)
    assert seen.mismatch == "its answers name other@0123456789ab"
    assert stored_canaries(tmp_path / "store", first.id) == (), "it is kept of no server that names another one"
    servers.names[first.id] = "vllm-0.32.0-tp1-1a2b"
    (seen,) = await found(tmp_path, deployer, servers)
    assert seen.mismatch == "", "no release id"


@pytest.mark.parametrize("fault", [DeployerUnavailable("no answer"), StageError("no log-probabilities")])
async def test_no_answer_is_no_proof_and_no_mismatch(tmp_path: Path, first: Release, fault: Exception) -> None:
    deployer, servers = site(first)
    servers.fault = fault
    (seen,) = await found(tmp_path, deployer, servers)
    assert (seen.mismatch, seen.unproved, seen.log_probability_difference) == ("", str(fault), None)


async def test_a_release_that_is_not_in_the_store_is_unproved(tmp_path: Path, first: Release) -> None:
    class Other(FakeDeployer):
        async def state(self) -> DeploymentState:
            served = ServedRelease(release="x@0123456789ab", endpoint="http://h:1/v1", takes_traffic=True)
            return DeploymentState(active=served.release, up=(served,))

    (seen,) = await found(tmp_path, Other(), Servers())
    assert (seen.kind, seen.unproved) == ("unknown", "its release is not in the release store")


async def test_what_changes_meanwhile_is_no_mismatch(tmp_path: Path, first: Release, second: Release) -> None:
    deployer, _ = site(first)
    write_canary(tmp_path / "store", canary(first.id))

    async def ask(served: ServedRelease, _: bool) -> Canary:
        deployer.up.clear()
        deployer.serve(second)
        return replace(canary(second.id), release=served.release)

    (seen,) = await check_served(ServedCheck(releases=tmp_path / "store", ask=ask), deployer, clock=lambda: NOW)
    assert (seen.mismatch, seen.unproved) == ("", "what is served was changed meanwhile")


async def test_servers_of_adapters_are_asked_for_the_answer_and_held_against_its_kind(tmp_path: Path) -> None:
    adapters = AdapterSite.make(tmp_path)
    servers, deployer = Servers(), FakeAdapterDeployer(on=adapters.base)
    write_canary(tmp_path / "store", replace(canary(adapters.base.id), values=((-9.0, -9.0),)))
    (seen,) = await found(tmp_path, deployer, servers)
    assert "kept" in seen.unproved, "what was kept of its texts says nothing of its answers"
    (seen,) = await found(tmp_path, deployer, servers)
    assert (servers.asked, seen.log_probability_difference) == ([True, True], 0.0)
    servers, plain = Servers(), FakeDeployer()
    plain.serve(adapters.base)
    await found(tmp_path, plain, servers)
    assert servers.asked == [False]


async def test_every_server_of_several_is_asked(tmp_path: Path, first: Release, second: Release) -> None:
    class Pair(FakeDeployer):
        async def state(self) -> DeploymentState:
            served = ServedRelease(
                release=first.id, endpoint="http://h:1/v1", takes_traffic=True, also_at=("http://h:2/v1",)
            )
            return DeploymentState(active=first.id, up=(served,))

        async def wanted(self) -> Path:
            return second.path

        async def lost(self) -> tuple[str, ...]:
            return ("http://h:2/v1",)

        async def reassert(self) -> tuple[str, ...]:
            raise AssertionError("a look changes nothing")

    async def ask(served: ServedRelease, _: bool) -> Canary:
        return canary(first.id if served.endpoint == "http://h:1/v1" else second.id)

    write_canary(tmp_path / "store", canary(first.id))
    found = await check_served(ServedCheck(releases=tmp_path / "store", ask=ask), Pair(), clock=lambda: NOW)
    assert [(s.replica, s.release, bool(s.mismatch)) for s in found] == [
        ("h:1", first.id, False), ("h:2", first.id, True), ("h:2", second.id, True),
    ]  # fmt: skip
    assert found[2].mismatch == "it does not serve the release that is wanted"


def test_a_replica_is_named_by_host_and_port() -> None:
    assert replica_of("http://user:secret@h:8000/v1") == "h:8000"


def test_how_often_a_server_is_mended() -> None:
    assert not may_mend(Mode.OBSERVE, tries=0, last=None, now=NOW)
    assert may_mend(Mode.PROPOSE, tries=0, last=None, now=NOW)
    assert not may_mend(Mode.AUTO, tries=1, last=NOW, now=NOW + timedelta(seconds=119))
    assert may_mend(Mode.AUTO, tries=1, last=NOW, now=NOW + timedelta(seconds=120))
    assert may_mend(Mode.AUTO, tries=1, last=NOW, now=NOW - timedelta(hours=3)), "the clock was set back"
    assert not may_mend(Mode.AUTO, tries=MENDS_MAX, last=NOW, now=NOW + timedelta(days=9))
