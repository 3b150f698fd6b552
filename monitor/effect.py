"""What an effect came to, and what it works with."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from deploy.adapter import base_id
from deploy.checkpoint import find_release
from deploy.offers import layering
from monitor.drawing import look, profile
from monitor.incident import Incident, Outcome, Wait
from monitor.measure import log_entries
from monitor.site import Say, Site
from monitor.store import Store
from probes.profile import ReleaseProfile
from probes.result import SafetyEstimate, SweepResult
from probes.target import Target

__all__ = [
    "Effect", "Step", "effect", "good_releases", "known_profiles", "last_good", "looked_at", "measured", "scratch",
    "servable", "staged",
]  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Effect:
    """What an effect came to: an outcome, or what the incident waits for.

    Attributes:
        outcome: ``None`` where it goes on in the same state, once what it found out is written down.
    """

    incident: Incident
    outcome: Outcome | Wait | None
    note: str
    candidate: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One step's surroundings."""

    site: Site
    store: Store
    say: Say

    def keep(self, sweep: SweepResult, purpose: str, release: str) -> None:
        """Write a sweep to the probe log."""
        entries = log_entries(self.site.measure, sweep, purpose=purpose, release=release)
        self.store.append(self.site.name, entries)


def effect(incident: Incident, outcome: Outcome | Wait | None, note: str) -> Effect:
    """Say what an effect came to."""
    return Effect(incident=incident, outcome=outcome, note=note)


def staged(incident: Incident) -> str:
    """Return the candidate that is up, or may be on its way up; empty where there is none."""
    return incident.candidate or (incident.trial.candidate if incident.trial else "")


def scratch(incident: Incident, site: Site) -> Path:
    """Return where the present recipe writes to."""
    return site.releases / ".work" / f"{incident.id}-{incident.recipe}"


def good_releases(store: Store, target: str, *, but: str) -> tuple[str, ...]:
    """Return the releases marked good, except one, the newest first."""
    return tuple(k.release for k in store.known(target) if k.good and k.release != but)


def last_good(store: Store, target: str, *, but: str) -> str:
    """Return the newest release marked good, except one; empty where there is none."""
    return next(iter(good_releases(store, target, but=but)), "")


def known_profiles(step: Step) -> dict[str, ReleaseProfile]:
    """Return the profiles by release that were taken in the present way of measuring."""
    return {
        k.release: ReleaseProfile.from_json(k.profile)
        for k in step.store.known(step.site.name)
        if k.profile and k.profile_key == step.site.measure.key
    }


async def measured(release: str, step: Step) -> ReleaseProfile:
    """Profile a release through its own endpoint, staging it where it is not up, and keep what was found.

    Raises:
        CheckpointError: It is not in the store, or its files are not what the manifest says.
        DeployerUnavailable: The serving side does not answer.
        MixedReleaseError: Two releases answered.
        NotMeasured: Too many answers are missing, or another release answered.
        StageError: It did not come up.
    """
    site = step.site
    async with _staged(release, step) as target:
        found = await profile(
            site.measure.in_full,
            target,
            release,
            keep=lambda sweep, purpose: step.keep(sweep, purpose, release),
            say=lambda share: step.say(f"measure {release}", share),
        )
    step.store.put_profile(site.name, release, found.to_json(), key=site.measure.key, at=site.measure.clock())
    return found


async def looked_at(known: ReleaseProfile, step: Step) -> ReleaseProfile:
    """Add to a release's profile what the gates ask beside it, and keep it; nothing is asked twice.

    Returns:
        The profile with ASR by attack and by suite; as it was where the settings ask for no look, or it has them.

    Raises:
        As ``measured``.
    """
    site, looks, release = step.site, step.site.gate_looks, known.release
    if not looks.key or known.looks == looks.key:
        return known
    measure = site.measure.in_full
    plain = measure.plain
    asked = [(a.name, measure.harm, a) for a in looks.attacks] + [(s.name, s, plain) for s in looks.suites]
    found: list[SafetyEstimate] = []
    async with _staged(release, step) as target:
        for name, suite, attack in asked:
            step.say(f"measure {release}: {name}", len(found) / len(asked))
            found.append(
                await look(
                    measure, target, suite, attack, prompts=looks.prompts, release=release,
                    keep=lambda sweep, purpose: step.keep(sweep, purpose, release),
                )
            )  # fmt: skip
    by_name = [(name, estimate) for (name, _, _), estimate in zip(asked, found, strict=True)]
    with_looks = replace(
        known, looks=looks.key, asr_by_attack=dict(by_name[: len(looks.attacks)]),
        asr_by_suite=dict(by_name[len(looks.attacks) :]),
    )  # fmt: skip
    step.store.put_profile(site.name, release, with_looks.to_json(), key=site.measure.key, at=measure.clock())
    return with_looks


async def servable(release: str, site: Site) -> bool:
    """Whether the serving side can bring a release up at all: servers of adapters keep to the base that they run.

    Raises:
        CheckpointError: It is not in the store.
        DeployerUnavailable: The serving side does not answer.
    """
    adapters = layering(site.deployer)
    if adapters is None:
        return True
    base = await adapters.base_of_adapters()
    return release == base or await asyncio.to_thread(base_id, site.releases, release) == base


@asynccontextmanager
async def _staged(release: str, step: Step) -> AsyncIterator[Target]:
    """Give a target that asks a release's own endpoint."""
    site = step.site
    step.say(f"stage {release}", 0.0)
    state = await site.deployer.state()
    served = state.find(release)
    if served is None:
        served = await site.deployer.stage(await asyncio.to_thread(find_release, site.releases, release))
    target = site.target_at(served.endpoint, served.model)
    try:
        yield target
    finally:
        await target.aclose()
