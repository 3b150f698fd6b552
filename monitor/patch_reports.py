"""Reports of what recipes came to: where they lie, and what of the store goes into them.

A trial's report lies beside the releases, in ``<releases>/reports/<incident>/<rung>-<recipe>.html`` and ``.json``;
rungs count from 1. It stays when its release is removed.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path

from deploy.checkpoint import Release, find_release
from deploy.errors import CheckpointError
from monitor import __version__
from monitor.effect import Step, known_profiles
from monitor.errors import ConfigError
from monitor.incident import Incident
from monitor.site import Recipe, Site
from monitor.store import Store
from probes.profile import ReleaseProfile
from remediation.report import PatchReport, Provenance, write_report
from remediation.verification import Reversal
from remediation.worker import patch_from_json

__all__ = ["SEED", "report_of_trial", "reversal_of", "rung_of", "try_to_report", "write_reports", "write_trial"]

SEED = 0
"""Seed of the daemon's repairs: the same incident is repaired in the same way."""

log = logging.getLogger("alignd")


def report_of_trial(
    incident: Incident,
    rung: int,
    *,
    recipe: Recipe,
    releases: Path,
    known: Mapping[str, ReleaseProfile],
    at: datetime,
) -> PatchReport:
    """Gather what one rung of an incident's ladder came to.

    Args:
        rung: Index of the trial, from 0.
        recipe: The rung's settings.
        releases: Release store, for digests; what is not in it has none.
        known: Measured profiles by release.
    """
    trial = incident.trials[rung]
    drifted, candidate = _found(releases, incident.release), _found(releases, trial.candidate)
    roles = {"reference": incident.last_good, "drifted": incident.release}
    profiles = {role: known[release] for role, release in roles.items() if release in known}
    if trial.profile:
        profiles["candidate"] = ReleaseProfile.from_json(trial.profile)
    return PatchReport(
        provenance=Provenance(
            recipe=trial.recipe, options=recipe.options, seed=SEED, incident=incident.id, target=incident.target,
            drifted=incident.release, drifted_digest=drifted.manifest.digest if drifted else "",
            reference=incident.last_good, candidate=trial.candidate,
            candidate_digest=candidate.manifest.digest if candidate else "", made_with=f"alignd {__version__}",
        ),
        patch=patch_from_json(trial.patch) if trial.patch else None, verification=trial.verification,
        profiles=profiles, why=trial.why, written_at=at,
    )  # fmt: skip


def write_reports(incident: Incident, site: Site, store: Store, folder: Path, *, at: datetime) -> tuple[Path, ...]:
    """Write a report of each of an incident's trials, as the store has them now.

    Raises:
        ConfigError: The folder can't be written.
    """
    known = known_profiles(Step(site=site, store=store, say=lambda _stage, _share: None))
    written: list[Path] = []
    for rung, trial in enumerate(incident.trials):
        recipe = rung_of(site.recipes, rung, trial.recipe)
        found = report_of_trial(incident, rung, recipe=recipe, releases=site.releases, known=known, at=at)
        try:
            written += write_trial(found, folder, rung)
        except OSError as error:
            raise ConfigError(f"{folder}: can't be written ({error.strerror}); give another folder") from error
    return tuple(written)


def rung_of(recipes: Sequence[Recipe], rung: int, plugin: str) -> Recipe:
    """Return a trial's rung: the one of its place, or where the settings were changed since, the plugin's only one.

    Where the plugin is there more than once or not at all, nobody knows what the trial was made with: it has no
    options then.
    """
    if rung < len(recipes) and recipes[rung].plugin == plugin:
        return recipes[rung]
    same = [r for r in recipes if r.plugin == plugin]
    return same[0] if len(same) == 1 else Recipe(plugin=plugin, options={})


def write_trial(report: PatchReport, folder: Path, rung: int) -> tuple[Path, Path]:
    """Write a trial's report into an incident's folder.

    Raises:
        OSError: It can't be written.
    """
    safe = "".join(c if c.isalnum() or c in "-_" else "-" for c in report.provenance.recipe)
    return write_report(report, folder, f"{rung + 1}-{safe}")


def try_to_report(report: PatchReport, releases: Path, rung: int) -> None:
    """Write a trial's report beside the releases; where that fails a repair goes on without it."""
    incident = report.provenance.incident
    try:
        write_trial(report, releases / "reports" / incident, rung)
    except OSError as error:
        log.warning("report_not_written", extra={"incident": incident, "why": str(error)})


def reversal_of(releases: Path, candidate: str, parent: str) -> Reversal:
    """Say whether a candidate can be taken back: its manifest names its parent, and the store still has that one."""
    found, kept = _found(releases, candidate), _found(releases, parent)
    pinned = found is not None and found.manifest.parent == parent and all(f.sha256 for f in found.manifest.files)
    return Reversal(parent=parent, kept=kept is not None, pinned=pinned)


def _found(releases: Path, release: str) -> Release | None:
    try:
        return find_release(releases, release) if release else None
    except CheckpointError:
        return None
