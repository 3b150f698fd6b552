"""An ordinary release on its way into service: imported, staged, held against the gates, promoted if it passes.

It is measured as a repair's candidate is, through its own endpoint, before a user sees it. One change at a time for a
target: a lock for people and pipelines, and no open incident, which is the daemon's own change.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from deploy.adapter import base_id, import_adapter
from deploy.checkpoint import Release, find_release, import_checkpoint, verify_release
from deploy.deployer import DeploymentState
from deploy.errors import CheckpointError, Fenced, StageError
from deploy.weights import is_adapter, is_folder
from monitor.changing import changing, note_staged, require_no_incident, stop_noted
from monitor.effect import Step, known_profiles, last_good
from monitor.gating import Held, hold, measure_before
from monitor.site import Site
from probes.profile import ReleaseProfile

__all__ = ["Asked", "DeployOutcome", "Deployment", "deploy"]

log = logging.getLogger("alignd")


class DeployOutcome(StrEnum):
    """What came of it."""

    PROMOTED = "promoted"
    PASSED = "passed"
    """Fit to serve, and not promoted, as asked."""
    FAILED = "failed"
    """Not fit to serve: what was served before still is."""


_ACTIONS = {
    DeployOutcome.PROMOTED: "deploy_promoted",
    DeployOutcome.PASSED: "deploy_passed",
    DeployOutcome.FAILED: "deploy_failed",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What a person or a pipeline wants served.

    Attributes:
        checkpoint: Folder of a checkpoint or an adapter, or the id of a release in the store.
        name: For the release, where it is imported.
        by: Who asks.
        promote: Whether to promote it if it passes.
        base: Release that an adapter belongs on; the active one, or its base, where it is empty.
    """

    checkpoint: str
    name: str
    by: str
    promote: bool = True
    base: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Deployment:
    """What came of it.

    Attributes:
        replaces: What was in service when it began, ``""`` where nothing was.
        why: What stood in the way, empty where it passed.
        held: What the gates said; ``None`` where the release did not come up.
        profiles: Measured releases by role: ``reference``, ``in service``, ``candidate``; those that there are.
        seconds: From the order to promote until the release was in service; 0 where it was not promoted.
    """

    target: str
    release: Release
    replaces: str
    last_good: str
    outcome: DeployOutcome
    why: str
    held: Held | None
    profiles: Mapping[str, ReleaseProfile]
    seconds: float = 0.0

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return {
            "target": self.target, "release": self.release.id, "digest": self.release.manifest.digest,
            "replaces": self.replaces, "last_known_good": self.last_good, "outcome": self.outcome.value,
            "why": self.why, "promote_seconds": self.seconds,
            "verification": self.held.verification.to_json() if self.held else None,
            "canary": dict(self.held.canary) if self.held else None,
        }  # fmt: skip


async def deploy(asked: Asked, step: Step) -> Deployment:
    """Bring a release up, hold it against the gates and promote it if it passes; else stop it again.

    Raises:
        CheckpointError: The checkpoint can't be used, or the release's files are not what its manifest says.
        OpenIncident: The target has an open incident, at the start or by the time of the promotion.
        StoreInUse: Somebody else changes what the target serves, or removes releases.
        DeployerUnavailable: The serving side does not answer.
        And as ``measured``; whatever is raised, nothing was promoted, unless the serving side went away in the midst
        of it, and what was staged here is stopped.
    """
    site = step.site
    await asyncio.to_thread(site.releases.mkdir, parents=True, exist_ok=True)
    async with changing(step):
        require_no_incident(step.store, site.name)
        state = await site.deployer.state()
        release = await asyncio.to_thread(_release_of, asked, state.active, site)
        good = last_good(step.store, site.name, but=release.id)
        new = {release.id, good} - {s.release for s in state.up} - {""}
        await asyncio.to_thread(note_staged, site, new)
        try:
            done = await _decide(asked, release, state, good, step)
        finally:
            await stop_noted(step)
    log.info(
        _ACTIONS[done.outcome],
        extra={"target": site.name, "release": release.id, "replaces": state.active, "by": asked.by, "why": done.why},
    )  # fmt: skip
    return done


async def _decide(asked: Asked, release: Release, state: DeploymentState, good: str, step: Step) -> Deployment:
    site = step.site
    await measure_before(state.active, good, step)
    verdict, why = None, ""
    try:
        await site.deployer.stage(release)
        verdict = await hold(release.id, replaces=state.active, last_good=good, step=step)
        why = verdict.why
    except Fenced:
        raise
    except StageError as error:
        why = str(error)
    seconds = 0.0
    if not why and asked.promote:
        seconds = await _promote(release, state.active, step)
    passed = DeployOutcome.PROMOTED if asked.promote else DeployOutcome.PASSED
    known = known_profiles(step)
    roles = {"reference": good, "in service": state.active, "candidate": release.id}
    return Deployment(
        target=site.name, release=release, replaces=state.active, last_good=good, why=why, held=verdict,
        outcome=DeployOutcome.FAILED if why else passed, seconds=seconds,
        profiles={role: known[r] for role, r in roles.items() if r in known},
    )  # fmt: skip


async def _promote(release: Release, replaces: str, step: Step) -> float:
    """Promote what passed, unless the target was changed since it was looked at.

    Returns:
        Seconds until it was in service.
    """
    site = step.site
    require_no_incident(step.store, site.name)
    if (active := (await site.deployer.state()).active) != replaces:
        raise StageError(
            f"release {release.id} passed, yet {active or 'nothing'} took the place of {replaces or 'nothing'} "
            "meanwhile; deploy it again"
        )
    step.say(f"promote {release.id}", 0.0)
    began = time.monotonic()
    if not (await site.deployer.promote(release)).takes_traffic:
        raise StageError(f"release {release.id} was promoted, yet it takes no traffic; look at the server")
    return time.monotonic() - began


def _release_of(asked: Asked, active: str, site: Site) -> Release:
    """Find the release that is asked for, or import it as one; it is whole."""
    folder = Path(asked.checkpoint)
    if not is_folder(folder):
        if "/" in asked.checkpoint or "@" not in asked.checkpoint:
            raise CheckpointError(f"{asked.checkpoint[:99]}: no such folder; give a checkpoint's, or a release id")
        release = find_release(site.releases, asked.checkpoint)
        verify_release(release)
        return release
    creator, now = f"deploy:{asked.by}", site.measure.clock()
    if is_adapter(folder):
        base = asked.base or base_id(site.releases, active)
        release = import_adapter(
            folder, site.releases, name=asked.name, base=base, parent=active, created_at=now, creator=creator
        )
    else:
        release = import_checkpoint(
            folder, site.releases, name=asked.name, created_at=now, parent=active, creator=creator
        )
    site.sign(release)
    return release
