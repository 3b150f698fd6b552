"""The shipped fake and adapters pass the checks of deployers, and the checks catch what breaks them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from deploy.checkpoint import Release, import_checkpoint
from deploy.deployer import Deployer, DeploymentState, ServedRelease
from deploy.errors import DeployerUnavailable, StageError
from deploy.external import ExternalDeployer, Options
from deploy.testing import (
    FakeAdapterDeployer,
    FakeDeployer,
    check_deployer,
    check_layering_deployer,
    check_quarantining_deployer,
    check_watching_deployer,
)
from tests.adapter_site import AdapterSite
from tests.unit.deploy.test_checkpoint import NOW, write_checkpoint


def release(folder: Path, name: str) -> Release:
    source = write_checkpoint(folder / "sources" / name, data=name.encode().ljust(8, b"\0"))
    return import_checkpoint(source, folder / "store", name=name, created_at=NOW)


@pytest.fixture
def releases(tmp_path: Path) -> tuple[Release, Release, Release]:
    first, second, changed = (release(tmp_path, n) for n in ("first", "second", "changed"))
    (changed.path / "config.json").write_text("{}")
    return first, second, changed


async def check(deployer: Deployer, releases: tuple[Release, Release, Release]) -> None:
    first, second, changed = releases
    await check_deployer(deployer, first, second, changed=changed)


async def test_the_fake_keeps_the_port(releases: tuple[Release, Release, Release]) -> None:
    deployer = FakeDeployer()
    await check(deployer, releases)
    a, b, _ = (r.id for r in releases)
    assert deployer.effects == [
        ("stage", a), ("promote", a), ("stage", b), ("promote", b), ("promote", a), ("retire", b),
    ]  # fmt: skip


async def test_the_fake_keeps_users_out_until_it_is_lifted(releases: tuple[Release, Release, Release]) -> None:
    deployer = FakeDeployer()
    await check_quarantining_deployer(deployer, *releases[:2])
    assert [verb for verb, _ in deployer.effects if verb != "stage"] == [
        "promote", "quarantine", "lift", "quarantine", "promote",
    ]  # fmt: skip


async def test_a_lift_that_does_nothing_is_caught(releases: tuple[Release, Release, Release]) -> None:
    class Idle(FakeDeployer):
        async def lift(self) -> None:
            return

    with pytest.raises(AssertionError, match="it is in quarantine still"):
        await check_quarantining_deployer(Idle(), *releases[:2])


async def test_the_fake_of_adapters_keeps_both_ports(
    tmp_path: Path, releases: tuple[Release, Release, Release]
) -> None:
    site = AdapterSite.make(tmp_path / "adapters")
    deployer, changed = FakeAdapterDeployer(on=site.base), site.adapter("changed")
    (changed.path / "adapter_config.json").write_text("{}")
    await check_layering_deployer(deployer, other=releases[0])
    await check(deployer, (site.adapter("a"), site.adapter("b"), changed))
    await check_layering_deployer(deployer, other=releases[0])


class TakesAll(FakeAdapterDeployer):
    """Brings up what does not stand on its base."""

    def _bring_up(self, release: Release) -> None:
        FakeDeployer._bring_up(self, release)


class Unloads(FakeAdapterDeployer):
    """Stops the base under its adapters."""

    async def retire(self, release: str) -> None:
        await FakeDeployer.retire(self, release)


@pytest.mark.parametrize(
    ("broken", "message"),
    [(TakesAll, "staging another full checkpoint is refused"), (Unloads, "retiring the base under its adapters")],
)
async def test_a_deployer_of_adapters_that_breaks_the_port_is_caught(
    tmp_path: Path, releases: tuple[Release, Release, Release], broken: type[FakeAdapterDeployer], message: str
) -> None:
    site = AdapterSite.make(tmp_path / "adapters")
    deployer = broken(on=site.base)
    await deployer.promote(site.adapter("a"))
    with pytest.raises(AssertionError, match=message):
        await check_layering_deployer(deployer, other=releases[0])
    with pytest.raises(AssertionError, match="does not say what its servers run"):
        await check_layering_deployer(FakeDeployer(), other=releases[0])


@pytest.mark.parametrize("served", ["", "prod-2026"])
async def test_a_server_that_is_watched_keeps_the_port(
    releases: tuple[Release, Release, Release], served: str
) -> None:
    options = Options(endpoint="http://server/v1", release=served)
    await check_watching_deployer(ExternalDeployer(options), releases[0])


async def test_releases_may_share_an_address_and_differ_by_model(
    releases: tuple[Release, Release, Release]
) -> None:
    class ByModel(FakeDeployer):
        def _served(self, release: str) -> ServedRelease:
            return replace(FakeDeployer._served(self, release), endpoint="http://fake/v1", model=release)

    await check(ByModel(), releases)


class Forgets(FakeDeployer):
    """Takes the release before down at once."""

    async def promote(self, release: Release) -> ServedRelease:
        if release.id != self.active:
            self.up.clear()
        return await FakeDeployer.promote(self, release)


class Switches(FakeDeployer):
    """Gives a staged release the traffic."""

    async def stage(self, release: Release) -> ServedRelease:
        return await self.promote(release)


class Stays(FakeDeployer):
    """Stages where it should promote."""

    async def promote(self, release: Release) -> ServedRelease:
        return replace(await self.stage(release), takes_traffic=True)


class Restarts(FakeDeployer):
    """Starts another server for a release that is up."""

    count = 0

    async def stage(self, release: Release) -> ServedRelease:
        Restarts.count += 1
        served = await FakeDeployer.stage(self, release)
        return replace(served, endpoint=f"http://fake/{Restarts.count}/v1")


class StopsTraffic(FakeDeployer):
    """Retires whatever is named."""

    async def retire(self, release: str) -> None:
        if release == self.active:
            self.active = ""
        await FakeDeployer.retire(self, release)


class KnowsAll(FakeDeployer):
    """Refuses unknown ids."""

    async def retire(self, release: str) -> None:
        if release not in self.up:
            raise StageError(f"{release} is not known")
        await FakeDeployer.retire(self, release)


class KeepsUp(FakeDeployer):
    """Retires nothing."""

    async def retire(self, release: str) -> None:
        if release == self.active:
            raise StageError("takes traffic")


class Trusts(FakeDeployer):
    """Does not read the files."""

    def _bring_up(self, release: Release) -> None:
        self.up[release.id] = release


class Fails(FakeDeployer):
    """Calls changed files a failed start."""

    async def stage(self, release: Release) -> ServedRelease:
        if release.manifest.name == "changed":
            raise StageError("exited with 1")
        return await FakeDeployer.stage(self, release)


class Contradicts(FakeDeployer):
    """Names an active release that takes no traffic."""

    async def state(self) -> DeploymentState:
        found = await FakeDeployer.state(self)
        return replace(found, up=tuple(replace(s, takes_traffic=False) for s in found.up))


class SharesAddress(FakeDeployer):
    """Gives every release the same address."""

    def _served(self, release: str) -> ServedRelease:
        return replace(FakeDeployer._served(self, release), endpoint="http://fake/v1")


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        (Forgets, "first@.* must stay up when second@"),
        (Switches, "staging second@.* put 'second@.*' into service"),
        (Stays, "first@.* was promoted, '' is active"),
        (Restarts, "stage says .*, state "),
        (StopsTraffic, "retiring the active release is refused with StageError, not done"),
        (KnowsAll, "retiring an unknown release is fine"),
        (KeepsUp, "second@.* is up although it was retired"),
        (Trusts, "staging changed files is refused with CheckpointError, not done"),
        (Fails, "staging changed files is a CheckpointError, not StageError"),
        (Contradicts, r"is active, yet \[\] take traffic"),
        (SharesAddress, "are the same"),
    ],
)
async def test_a_deployer_that_breaks_the_port_is_caught(
    releases: tuple[Release, Release, Release], broken: type[FakeDeployer], message: str
) -> None:
    with pytest.raises(AssertionError, match=message):
        await check(broken(), releases)


async def test_a_watching_deployer_that_changes_something_is_caught(
    releases: tuple[Release, Release, Release]
) -> None:
    with pytest.raises(AssertionError, match="staging a release is refused with StageError, not done"):
        await check_watching_deployer(FakeDeployer(), releases[0])


async def test_a_watching_deployer_that_says_it_retired_the_active_release_is_caught(
    releases: tuple[Release, Release, Release]
) -> None:
    class Silent(ExternalDeployer):
        async def retire(self, release: str) -> None:
            return None

    silent = Silent(Options(endpoint="http://server/v1", release="prod"))
    with pytest.raises(AssertionError, match="retiring the active release is refused"):
        await check_watching_deployer(silent, releases[0])


async def test_the_fake_follows_its_script(releases: tuple[Release, Release, Release]) -> None:
    first, second, _ = releases
    seen: list[str] = []
    deployer = FakeDeployer(
        faults=[None, DeployerUnavailable("busy")], broken=frozenset({"second"}), hook=seen.append
    )
    await deployer.promote(first)
    with pytest.raises(DeployerUnavailable, match="busy"):
        await deployer.state()
    with pytest.raises(StageError, match=r"second@.* did not come up"):
        await deployer.promote(second)
    assert seen == ["promote", "promoted", "promote"]
    deployer.down = True
    with pytest.raises(DeployerUnavailable, match="does not answer"):
        await deployer.state()
    deployer.down = False
    deployer.serve(second)
    assert (await deployer.state()).active == second.id
    assert deployer.effects == [("stage", first.id), ("promote", first.id)]
