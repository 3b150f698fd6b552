"""The release store as people work on it: what stays, what is put into service by hand, what is gone back to."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from deploy.canary import clear_canaries
from deploy.checkpoint import Release, find_release, release_names, verify_release
from deploy.deployer import ServedRelease
from deploy.errors import CheckpointError, StageError
from deploy.offers import reasserting, reversible
from deploy.retention import InUse, kept, remove_releases, sweeping_store
from deploy.weights import is_folder
from monitor.changing import changing, named_by_incidents, require_no_incident
from monitor.effect import Step, last_good
from monitor.errors import ConfigError
from monitor.site import Site
from monitor.store import Store

__all__ = ["Sweep", "in_use", "promote_by_hand", "roll_back_by_hand", "sweep"]

log = logging.getLogger("alignd")


@dataclass(frozen=True, slots=True, kw_only=True)
class Sweep:
    """What a sweep of the store came to.

    Attributes:
        kept: Release id to the reason why it stays.
        gone: What was removed, or would be: release ids and names of scratch.
        kept_bytes: Size of the releases that stay.
        freed_bytes: Size of the releases that go.
    """

    kept: Mapping[str, str]
    gone: tuple[str, ...]
    kept_bytes: int
    freed_bytes: int


async def in_use(site: Site, store: Store) -> InUse:
    """Gather what a target needs of the release store.

    Raises:
        DeployerUnavailable: The serving side does not answer: nobody knows what it needs.
    """
    state = await site.deployer.state()
    keeps = reversible(site.deployer)
    record = await keeps.record() if keeps else None
    good = [k.release for k in store.known(site.name) if k.good]
    warm = [s.release for s in state.up] + ([record.desired, *record.earlier[:1]] if record else [])
    if (returns := reasserting(site.deployer)) and (wanted := await returns.wanted()):
        warm.append(wanted.name)
    return InUse(
        active=state.active or (record.desired if record else ""), good=tuple(good),
        incidents=named_by_incidents(store, site.name), warm=(*warm, Path(site.last_known_good).name),
    )  # fmt: skip


async def sweep(sites: Mapping[str, Site], store: Store, releases: Path, *, keep: int, dry_run: bool = False) -> Sweep:
    """Remove the releases that nobody needs, while nobody brings one up.

    Raises:
        DeployerUnavailable: What a target serves is not known: nothing is removed.
        StoreInUse: A release is being brought up, imported or measured.
        CheckpointError: A release can't be removed.
    """
    if not await asyncio.to_thread(is_folder, releases):
        return Sweep(kept={}, gone=(), kept_bytes=0, freed_bytes=0)
    with sweeping_store(releases):
        uses = [await in_use(site, store) for site in sites.values()]
        present, damaged = await asyncio.to_thread(_readable, releases)
        stays = {**kept(present, uses, keep=keep), **damaged}
        leaving = [r for r in present if r.id not in stays]
        gone = tuple(r.id for r in leaving)
        if not dry_run:
            gone = await asyncio.to_thread(remove_releases, releases, gone)
            await asyncio.to_thread(clear_canaries, releases)
    freed = _bytes(leaving)
    return Sweep(kept=stays, gone=gone, kept_bytes=_bytes(present) - freed, freed_bytes=freed)


async def promote_by_hand(release_id: str, step: Step, *, by: str, ungated: bool) -> ServedRelease:
    """Put a release into service that is marked good.

    Args:
        ungated: Whether to promote one that is not, and that nobody has measured then.

    Raises:
        ConfigError: It is not marked good.
        CheckpointError: It is not in the store, or is not what its manifest says.
        OpenIncident: The target has an open incident.
        StoreInUse: Somebody else changes what the target serves.
        StageError: It did not come up.
        DeployerUnavailable: The serving side does not answer.
    """
    site = step.site
    async with changing(step):
        require_no_incident(step.store, site.name)
        release = await asyncio.to_thread(_whole, site.releases, release_id)
        good = {k.release for k in step.store.known(site.name) if k.good}
        if release.id not in good and not ungated:
            raise ConfigError(
                f"release {release.id} was not found good for {site.name}; `alignd deploy {release.id}` measures it "
                "first, --ungated promotes it unmeasured"
            )
        served = await site.deployer.promote(release)
    log.info("promoted_by_hand", extra={"target": site.name, "release": release.id, "by": by, "ungated": ungated})
    return served


async def roll_back_by_hand(step: Step, *, by: str) -> ServedRelease:
    """Put the release before the present one into service, at any time, whatever else is under way.

    A deployer that keeps a record goes back by it; for others it is the last known good release.

    Raises:
        StageError: There is none to go back to, or none comes up.
        DeployerUnavailable: The serving side does not answer.
    """
    site = step.site
    if keeps := reversible(site.deployer):
        served = await keeps.roll_back()
    else:
        active = (await site.deployer.state()).active
        good = last_good(step.store, site.name, but=active)
        if not good:
            raise StageError(
                f"no release but {active or 'none'} is marked good; `alignd releases promote` puts "
                "another one into service"
            )
        served = await site.deployer.promote(await asyncio.to_thread(_whole, site.releases, good))
    log.info("rolled_back_by_hand", extra={"target": site.name, "release": served.release, "by": by})
    return served


def _bytes(releases: Iterable[Release]) -> int:
    return sum(f.size for r in releases for f in r.manifest.files)


def _readable(store: Path) -> tuple[list[Release], dict[str, str]]:
    """Read the store's releases; those that can't be read, with the reason, are for a person to look at."""
    present: list[Release] = []
    damaged: dict[str, str] = {}
    for name in release_names(store):
        try:
            present.append(find_release(store, name))
        except CheckpointError as error:
            damaged[name] = f"damaged: {error}"
    return present, damaged


def _whole(releases: Path, release_id: str) -> Release:
    release = find_release(releases, release_id)
    verify_release(release)
    return release
