"""The effects of the ladder: make a patch, stage it, hold it against the gates."""

from __future__ import annotations

import asyncio
import hmac
from dataclasses import replace
from pathlib import Path

from deploy.adapter import base_id, import_adapter
from deploy.checkpoint import Release, find_release, import_checkpoint
from deploy.errors import CheckpointError, Fenced, StageError
from deploy.offers import layering
from deploy.weights import is_adapter
from monitor.effect import Effect, Step, effect, known_profiles, scratch, servable
from monitor.gating import hold, measure_before
from monitor.incident import Incident, Outcome, Trial, with_facts, with_trial
from monitor.ladder import clear, try_recipe
from monitor.patch_reports import SEED, report_of_trial, try_to_report
from monitor.rank_check import too_wide
from monitor.site import Site
from remediation.patch import Form, PatchRequest
from remediation.worker import patch_from_json

__all__ = ["patching", "pool_key", "staging", "verifying"]


async def patching(incident: Incident, step: Step) -> Effect:
    """Run the present recipe in a worker; before the first one, measure what it is held against."""
    site = step.site
    if site.recipes and not incident.recipes:
        return effect(incident, Outcome.FAILURE, "contained, as was asked; the repair is a person's")
    if incident.recipe >= len(site.recipes):
        return effect(incident, Outcome.FAILURE, "no recipe is configured; set recipes")
    recipe = site.recipes[incident.recipe]
    if not await servable(incident.release, site):
        note = f"{incident.release} is no release for these servers; a person is needed"
        return effect(incident, Outcome.FAILURE, note)
    drifted = await asyncio.to_thread(_folder, incident.release, site)
    if why := await too_wide(recipe, drifted, site):
        incident = with_trial(incident, Trial(recipe=recipe.plugin, why=why))
        return effect(incident, Outcome.NEXT_RECIPE, f"{recipe.plugin}: {why}")
    reference = await asyncio.to_thread(_folder, incident.last_good, site) if incident.last_good else None
    await _measure_before(incident, step)
    request = PatchRequest(
        incident=incident.id, recipe=recipe.plugin, drifted=drifted, reference=reference,
        output=scratch(incident, site), seed=SEED, options=recipe.options,
        parent_digest=await asyncio.to_thread(_digest, incident.release, site),
        reference_digest=await asyncio.to_thread(_digest, incident.last_good, site),
        form=Form.ADAPTER if layering(site.deployer) else Form.MERGED,
        site_key=pool_key(site.measure.site_key), benign_steps=site.gate_looks.benign_steps,
    )  # fmt: skip
    trial = await try_recipe(site.executor, request, step.say)
    incident = with_trial(incident, trial)
    if trial.why:
        await asyncio.to_thread(clear, request.output)
        await _report(incident, step)
        return effect(incident, Outcome.NEXT_RECIPE, f"{recipe.plugin}: {trial.why}")
    return effect(incident, Outcome.SUCCESS, f"{recipe.plugin}: patched")


def pool_key(site_key: str) -> str:
    """Return the key that recipes draw by, made of the site's without giving that away."""
    return hmac.digest(site_key.encode(), b"alignd/recipes/pool", "sha256").hex()


async def _measure_before(incident: Incident, step: Step) -> None:
    """Profile the reference and the drifted release once, then stop the drifted one to free memory."""
    site = step.site
    await measure_before(incident.release, incident.last_good, step)
    state = await site.deployer.state()
    if state.find(incident.release) and state.active not in {incident.release, ""}:
        await site.deployer.retire(incident.release)


async def staging(incident: Incident, step: Step) -> Effect:
    """Import the patch as a release and bring it up without traffic; where no server takes it, the next recipe's is.

    Which release it is is written down before it comes up: whoever ends the incident meanwhile stops it.
    """
    site, trial = step.site, _trial(incident)
    if not trial.candidate:
        step.say("import the patch", 0.0)
        release = await asyncio.to_thread(_import, incident, site)
        incident = with_trial(incident, replace(trial, candidate=release.id))
        return effect(incident, None, f"{trial.recipe}: imported as {release.id}")
    release = await asyncio.to_thread(find_release, site.releases, trial.candidate)
    step.say(f"stage {release.id}", 0.5)
    try:
        await site.deployer.stage(release)
    except Fenced:
        raise
    except StageError as error:
        incident = with_trial(incident, replace(trial, why=str(error)))
        await _report(incident, step)
        return effect(incident, Outcome.NEXT_RECIPE, f"{trial.recipe}: {error}")
    return Effect(
        incident=incident, outcome=Outcome.SUCCESS, note=f"{release.id} is up without traffic", candidate=release.id
    )


async def verifying(incident: Incident, step: Step) -> Effect:
    """Measure the candidate and hold it against the gates."""
    site, trial = step.site, _trial(incident)
    await asyncio.to_thread(clear, scratch(incident, site))
    held = await hold(
        incident.candidate, replaces=incident.release, last_good=incident.last_good, step=step,
        patch=patch_from_json(trial.patch or {}),
    )  # fmt: skip
    incident = with_facts(incident, {"canary": held.canary})
    trial = replace(trial, profile=held.profile.to_json(), verification=held.verification.to_json(), why=held.why)
    incident = with_trial(incident, trial)
    await _report(incident, step)
    if not held.why:
        return effect(incident, Outcome.SUCCESS, f"{incident.candidate} passed every gate")
    return effect(incident, Outcome.NEXT_RECIPE, f"{trial.recipe}: {held.why}")


async def _report(incident: Incident, step: Step) -> None:
    """Write down what the present rung came to."""
    site, rung = step.site, incident.recipe
    known = known_profiles(step)
    report = await asyncio.to_thread(
        report_of_trial, incident, rung, recipe=site.recipes[rung], releases=site.releases, known=known,
        at=site.measure.clock(),
    )  # fmt: skip
    await asyncio.to_thread(try_to_report, report, site.releases, rung)


def _trial(incident: Incident) -> Trial:
    if incident.trial is None or incident.trial.patch is None:
        raise CheckpointError(f"incident {incident.id}: the present recipe left no patch; abort the incident")
    return incident.trial


def _folder(release: str, site: Site) -> Path:
    """Find a release's checkpoint: in the store, else the folder of the settings."""
    try:
        return find_release(site.releases, release).path
    except CheckpointError:
        if site.checkpoint is None:
            raise
        return site.checkpoint


def _digest(release: str, site: Site) -> str:
    """Return the digest that a release had when it was imported; empty where it isn't in the store."""
    try:
        return find_release(site.releases, release).manifest.digest
    except CheckpointError:
        return ""


def _import(incident: Incident, site: Site) -> Release:
    trial, patched = _trial(incident), scratch(incident, site)
    about = {"name": f"{site.name}-patched", "parent": incident.release, "creator": f"patch:{trial.recipe}"}
    if is_adapter(patched):
        base = base_id(site.releases, incident.release)
        release = import_adapter(
            patched, site.releases, **about, base=base, incident=incident.id, created_at=site.measure.clock()
        )
    else:
        release = import_checkpoint(
            patched, site.releases, **about, incident=incident.id, created_at=site.measure.clock()
        )
    site.sign(release)
    return release

