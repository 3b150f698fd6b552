"""The effects of the incident table. Each is idempotent: done twice after a crash, it comes to the same."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

from deploy.checkpoint import find_release, import_checkpoint
from deploy.errors import CheckpointError, DeployerUnavailable, StageError
from deploy.offers import quarantining
from monitor.confirming import Grounds, grounds_of
from monitor.drawing import Test, cells_in, until_decided
from monitor.effect import Effect, Step, effect, good_releases, known_profiles, last_good, scratch, servable, staged
from monitor.errors import NotMeasured
from monitor.incident import Incident, Outcome, State, Wait, with_facts
from monitor.ladder import clear
from monitor.policy import Containment, Mode, expired, waits_for_person
from monitor.quarantine import lifted_by
from monitor.repair import patching, staging, verifying
from monitor.site import Say, Site
from monitor.store import Store
from probes.behavior import Partition
from probes.errors import MixedReleaseError, TargetError
from probes.statistics.evalues import Decision, DualEProcessTest, SequentialTest
from remediation.errors import WorkerDied

__all__ = ["clear_left", "configured_good", "let_go", "take_step"]

log = logging.getLogger("alignd")


async def take_step(incident: Incident, site: Site, store: Store, say: Say) -> Effect:
    """Do the effect of the state an incident is in.

    Returns:
        The outcome, with the incident as the effect's figures have changed it; faults are outcomes too.
    """
    step = Step(site=site, store=store, say=say)
    try:
        return await _EFFECTS[incident.state](incident, step)
    except (DeployerUnavailable, NotMeasured, MixedReleaseError, TargetError, WorkerDied) as error:
        return Effect(incident=incident, outcome=Outcome.RETRY, note=str(error))
    except OSError as error:
        note = f"this host is in the way ({error}); free disk or mend the folder's rights"
        return Effect(incident=incident, outcome=Outcome.RETRY, note=note)
    except (StageError, CheckpointError) as error:
        return Effect(incident=incident, outcome=Outcome.FAILURE, note=str(error))


def configured_good(site: Site, now: datetime) -> str:
    """Return the id of the configured last known good release; a folder is imported as one.

    Raises:
        CheckpointError: It can't be found, or is no whole checkpoint.
    """
    folder = Path(site.last_known_good)
    if folder.is_dir() and "@" not in folder.name:
        release = import_checkpoint(folder, site.releases, name=f"{site.name}-good", created_at=now)
        site.sign(release)
        return release.id
    return find_release(site.releases, folder.name if folder.is_dir() else site.last_known_good).id


async def let_go(incident: Incident, site: Site) -> None:
    """Retire the candidate and clear its scratch, where it takes no traffic; one that still comes up is waited for.

    Raises:
        DeployerUnavailable: The serving side does not answer.
        StageError: The candidate took traffic in between.
    """
    if candidate := staged(incident):
        state = await site.deployer.state()
        if state.active != candidate:
            await site.deployer.retire(candidate)
    await asyncio.to_thread(clear, scratch(incident, site))


def clear_left(site: Site, store: Store) -> None:
    """Remove what a killed daemon left of recipes that are over."""
    for incident in store.incidents(target=site.name, limit=1):
        over = len(incident.recipes) if incident.closed else incident.recipe
        for rung in range(over):
            clear(scratch(replace(incident, recipe=rung), site))


async def _detected(incident: Incident, step: Step) -> Effect:
    site = step.site
    active = (await site.deployer.state()).active
    if active and active != incident.release:
        return effect(incident, Outcome.CLEARED, f"{incident.release} has left service; {active} is served")
    grounds = _grounds(incident, step)
    test = await _decided(grounds.confirmation(site.rates), grounds, incident.release, "confirm", step)
    said = f"{test.successes} of {test.n} {grounds.words} answered harmfully"
    incident = with_facts(incident, {"confirmation": _figures(test, grounds)})
    if test.decision is Decision.REJECT:
        good = await _way_back(incident.release, step)
        return effect(replace(incident, last_good=good), Outcome.SUCCESS, f"confirmed: {said}")
    if test.decision is Decision.ACCEPT:
        return effect(incident, Outcome.CLEARED, f"not confirmed: {said}")
    return effect(incident, Outcome.FAILURE, f"undecided after {said}; look at the target")


async def _open(incident: Incident, step: Step) -> Effect:
    site, store = step.site, step.store
    store.mark(site.name, incident.release, good=False, at=site.measure.clock())
    active = await _active_or_unknown(site)
    if active and active not in {incident.release, incident.last_good}:
        return effect(incident, Outcome.CLEARED, f"{incident.release} has left service; {active} is served")
    if site.mode is Mode.OBSERVE and site.unrepairable:
        note = "action needed: nothing here can repair it; put a good release in by hand, or set deployer and recipes"
        return effect(incident, Wait.PERSON, note)
    if waits_for_person(incident, site.mode):
        return effect(incident, Wait.APPROVAL, f"action needed: `alignd approve {incident.id}` lets the repair begin")
    return await _contain(incident, step)


async def _contain(incident: Incident, step: Step) -> Effect:
    site = step.site
    if site.containment is Containment.HOLD:
        return effect(incident, Outcome.SUCCESS, "contained by hold: the drifted release stays in service")
    if site.containment is Containment.QUARANTINE and (by := lifted_by(incident)):
        return effect(incident, Outcome.SUCCESS, f"contained by hold: {by} lifted the quarantine")
    if site.containment is Containment.QUARANTINE:
        return await _quarantine(incident, step)
    if not incident.last_good:
        return effect(
            incident, Outcome.FAILURE, "no last known good release; set last_known_good or containment: hold"
        )
    if not await _servable_now(incident.last_good, site):
        note = f"not contained: {incident.last_good} is no release for these servers; {incident.release} is repaired"
        return effect(incident, Outcome.SUCCESS, note)
    began = time.monotonic()
    step.say("roll back", 0.0)
    release = await asyncio.to_thread(find_release, site.releases, incident.last_good)
    await site.deployer.promote(release)
    figures = {"release": incident.last_good, "seconds": time.monotonic() - began}
    incident = with_facts(incident, {"containment": figures})
    return effect(incident, Outcome.SUCCESS, f"contained: {incident.last_good} is in service again")


async def _quarantine(incident: Incident, step: Step) -> Effect:
    deployer, began = quarantining(step.site.deployer), time.monotonic()
    if deployer is None:
        note = "this deployer can't keep users from a target; set containment to roll_back or hold"
        return effect(incident, Outcome.FAILURE, note)
    step.say("quarantine", 0.0)
    await deployer.quarantine(f"out of service: incident {incident.id}")
    incident = with_facts(incident, {"containment": {"quarantine": True, "seconds": time.monotonic() - began}})
    until = f"until a release is promoted or `alignd quarantine lift {step.site.name}`"
    return effect(incident, Outcome.SUCCESS, f"contained by quarantine: users get 503 {until}")


async def _active_or_unknown(site: Site) -> str:
    """Return what takes the traffic; unknown where a server is away, which must not keep the others from going back."""
    try:
        return (await site.deployer.state()).active
    except DeployerUnavailable:
        return ""


async def _way_back(release: str, step: Step) -> str:
    """Return the newest good release that the servers can bring up; where there is none, the newest for recipes."""
    goods = good_releases(step.store, step.site.name, but=release)
    for good in goods:
        if await _servable_now(good, step.site):
            return good
    return next(iter(goods), "")


async def _servable_now(release: str, site: Site) -> bool:
    """Whether a release can be put into service; where a server is away, or the release is gone, trying tells."""
    try:
        return await servable(release, site)
    except (CheckpointError, DeployerUnavailable):
        return True


async def _awaiting(incident: Incident, step: Step) -> Effect:
    site = step.site
    if not waits_for_person(incident, site.mode):
        return effect(incident, Outcome.SUCCESS, f"approved by policy: mode {Mode.AUTO.value}")
    if expired(incident, hours=site.approval_hours, now=site.measure.clock()):
        return effect(incident, Outcome.REJECTED, f"nobody approved within {site.approval_hours:g} h")
    note = f"action needed: `alignd approve {incident.id}` puts {incident.candidate} into service"
    return effect(incident, Wait.APPROVAL, note)


async def _promoting(incident: Incident, step: Step) -> Effect:
    site = step.site
    release = await asyncio.to_thread(find_release, site.releases, incident.candidate)
    await site.deployer.promote(release)
    return effect(incident, Outcome.SUCCESS, f"{incident.candidate} takes the traffic")


async def _confirming(incident: Incident, step: Step) -> Effect:
    """Prove the recovery on the suite as a whole, and on the strata that fired."""
    site, grounds = step.site, _grounds(incident, step)
    good = known_profiles(step).get(incident.last_good)
    whole = replace(
        grounds, strata=(), cells=cells_in(site.measure, Partition.SEALED), words="sealed prompts",
        base=good.asr.value if good else None,
    )  # fmt: skip
    for name, part in {"recovery": whole, **({"recovery_of_strata": grounds} if grounds.strata else {})}.items():
        test = await _decided(part.recovery(site.rates), part, incident.candidate, "recovery", step)
        said = f"{test.successes} of {test.n} live answers to {part.words} harmful"
        incident = with_facts(incident, {name: _figures(test, part)})
        if test.decision is not Decision.ACCEPT:
            return effect(incident, Outcome.FAILURE, f"not recovered: {said}")
    step.store.mark(site.name, incident.candidate, good=True, at=site.measure.clock())
    await _retire_others(incident, site)
    return effect(incident, Outcome.SUCCESS, f"recovered: {said}")


def _grounds(incident: Incident, step: Step) -> Grounds:
    evidence = incident.facts.get("evidence", {})
    epoch = step.store.epoch_of(evidence["epoch"]) if "epoch" in evidence else None
    site, good = step.site, last_good(step.store, step.site.name, but=incident.release)
    known = good in known_profiles(step)
    profiled = step.store.profiled(site.name, good, suite=site.measure.harm.name) if known else {}
    return grounds_of(evidence, epoch, site.measure, site.rates, profiled=profiled)


async def _decided(test: Test, grounds: Grounds, release: str, purpose: str, step: Step) -> Test:
    """Draw fresh prompts of what fired until the test decides; nothing of the probes that raised the alarm counts."""
    site = step.site
    return await until_decided(
        site.measure.in_full,
        site.urgent,
        test,
        cap=site.rates.cap,
        batch=site.schedule.burst_batch,
        cells=grounds.cells,
        release=release,
        purpose=purpose,
        keep=lambda sweep, why: step.keep(sweep, why, release),
        say=lambda share: step.say(f"{purpose} on {grounds.words}", share),
    )


def _figures(test: SequentialTest | DualEProcessTest, grounds: Grounds) -> dict[str, Any]:
    rates = (
        {"theta": test.theta, "delta": test.delta, "cap": test.cap} if isinstance(test, DualEProcessTest)
        else {"p0": test.p0, "p1": test.p1, "alpha": test.alpha, "beta": test.beta}
    )  # fmt: skip
    return {"n": test.n, "harmful": test.successes, "log_e": test.log_e, "decision": test.decision.value,
            "on": grounds.words, **rates}  # fmt: skip


async def _retire_others(incident: Incident, site: Site) -> None:
    """Free what neither serves nor is kept warm; where that fails it costs memory, never the recovery."""
    try:
        for served in (await site.deployer.state()).up:
            if served.release not in {incident.candidate, incident.last_good} and not served.takes_traffic:
                await site.deployer.retire(served.release)
    except (DeployerUnavailable, StageError) as error:
        log.warning("not_retired", extra={"incident": incident.id, "why": str(error)})


async def _rolling_back(incident: Incident, step: Step) -> Effect:
    site = step.site
    if incident.candidate:
        step.store.mark(site.name, incident.candidate, good=False, at=site.measure.clock())
    if not incident.last_good:  # ordered before the breach was confirmed, which chooses it
        incident = replace(incident, last_good=await _way_back(incident.release, step))
    if not incident.last_good:
        return effect(incident, Outcome.FAILURE, "no last known good release to go back to; a person is needed")
    if not await _servable_now(incident.last_good, site):
        active = await _active_or_unknown(site) or "an unknown release"
        note = f"{incident.last_good} is no release for these servers: {active} stays in service; a person is needed"
        return effect(incident, Outcome.FAILURE, note)
    release = await asyncio.to_thread(find_release, site.releases, incident.last_good)
    await site.deployer.promote(release)
    await let_go(incident, site)
    return effect(incident, Outcome.SUCCESS, f"rolled back to {incident.last_good}; a person is needed")


_EFFECTS: Mapping[State, Callable[[Incident, Step], Awaitable[Effect]]] = {
    State.DETECTED: _detected,
    State.OPEN: _open,
    State.PATCHING: patching,
    State.STAGING: staging,
    State.VERIFYING: verifying,
    State.AWAITING_APPROVAL: _awaiting,
    State.PROMOTING: _promoting,
    State.CONFIRMING: _confirming,
    State.ROLLING_BACK: _rolling_back,
}
