"""From what the service knows to what the API says."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Mapping
from typing import Any

from monitor import __version__
from monitor.incident import Incident, Trial
from monitor.ordering import why_not
from monitor.pausing import in_force, pause_words
from monitor.policy import Order
from monitor.service import Service
from monitor.status import incident_json, listed_incidents, targets_json
from monitor.store import KnownRelease, Pause
from monitor.watch import new_watch
from monitor.web import models
from monitor.web.evidence import Height, path_of, thinned
from monitor.web.problems import Problem

__all__ = ["Views"]

_POINTS_MAX = 500
_PATHS_MAX = 16
_FIGURES = ("asr", "hs", "over_refusal", "utility")


class Views:
    """Reads of the service. Kept in memory are only the paths that were drawn last."""

    def __init__(self, service: Service) -> None:
        """Take the service that is asked."""
        self._service = service
        self._paths: dict[tuple[int, int], list[Height]] = {}

    def targets(self) -> models.Targets:
        """List all targets."""
        found, pauses = targets_json(self._service, self._service.sites), self._service.store.pauses()
        return models.Targets(
            at=self._service.clock(), version=__version__,
            targets=tuple(models.Target.model_validate(self._common(t, pauses.get(t["name"]))) for t in found),
        )  # fmt: skip

    def target(self, name: str) -> models.TargetDetail:
        """Say all about one target.

        Raises:
            Problem: There is none of this name.
        """
        self.require(name)
        (found,) = targets_json(self._service, [name], series=200)
        known = self._service.store.known(name)
        return models.TargetDetail.model_validate({
            **self._common(found, self._service.store.pause_of(name)), **{k: found[k] for k in _DETAILS},
            "up_releases": [{k: s[k] for k in ("release", "endpoint", "takes_traffic")} for s in _up(found)],
            "releases": [_known(k) for k in known],
        })  # fmt: skip

    def _common(self, found: Mapping[str, Any], pause: Pause | None) -> dict[str, Any]:
        return {**{k: found[k] for k in models.Target.model_fields}, "paused": self._said(pause)}

    def paused(self, name: str) -> models.PausedUntil:
        """Say who paused a target and until when, where a pause is in force."""
        return models.PausedUntil(target=name, paused=self._said(self._service.store.pause_of(name)))

    def _said(self, kept: Pause | None) -> models.Paused | None:
        if (pause := in_force(kept, self._service.clock())) is None:
            return None
        return models.Paused(by=pause.by, at=pause.at, until=pause.until, why=pause.why, words=pause_words(pause))

    async def evidence(self, name: str) -> models.EvidenceSeries:
        """Return how a target's evidence rose over its present epoch; a long log is read beside the loop.

        Raises:
            Problem: There is no such target.
            LogFault: Its log is not what was written.
        """
        self.require(name)
        rates, current = self._service.sites[name].rates, self._service.watched(name)
        path: list[Height] = []
        if current is not None:
            epoch, watch = current
            key = (epoch.id, watch.position)
            if key not in self._paths:
                self._paths[key] = await asyncio.to_thread(
                    lambda: thinned(path_of(new_watch(rates, epoch), self._service.store.entries(epoch)),
                                    most=_POINTS_MAX)
                )  # fmt: skip
                while len(self._paths) > _PATHS_MAX:
                    self._paths.pop(next(iter(self._paths)))
            path = self._paths[key]
        return models.EvidenceSeries(
            target=name, release=current[0].release if current else "", epoch=current[0].id if current else 0,
            n=path[-1].position if path else 0, log_warn=math.log(rates.gamma_warn),
            log_breach=math.log(rates.gamma_breach),
            points=tuple(
                models.EvidencePoint(position=h.position, at=h.at, log=h.log if math.isfinite(h.log) else None)
                for h in path
            ),
        )  # fmt: skip

    def incidents(self, *, target: str, open_only: bool, limit: int) -> models.Incidents:
        """List incidents, newest first, and all open ones among them.

        Raises:
            Problem: There is no such target.
        """
        if target:
            self.require(target)
        if open_only:
            found = self._service.store.incidents(target=target, open_only=True)
        else:
            found = listed_incidents(self._service.store, target=target, limit=limit)
        return models.Incidents(incidents=tuple(models.Incident.model_validate(self._incident(i)) for i in found))

    def incident(self, name: str) -> models.IncidentDetail:
        """Say all about one incident.

        Raises:
            UnknownIncident: There is none of this id.
        """
        found = self._service.store.load(name)
        about = {found.release, found.candidate, found.last_good, *(t.candidate for t in found.trials)}
        said, site = incident_json(found, self._service.clock()), self._service.sites.get(found.target)
        return models.IncidentDetail.model_validate({
            **self._incident(found), **{k: said[k] for k in _INCIDENT},
            "trials": [_trial(t) for t in found.trials],
            "releases": [_known(k) for k in self._service.store.known(found.target) if k.release in about],
            "orders": [o for o in Order if not why_not(found, o, site, self._service.store)],
        })  # fmt: skip

    async def plan(self, name: str) -> models.Plan:
        """Say what would be done about an incident from here; recipes by name, for their options may hold secrets.

        Raises:
            UnknownIncident: There is none of this id.
            ConfigError: Its target is not in the settings.
        """
        said = (await self._service.plan(name)).to_json()
        return models.Plan.model_validate({
            **{k: v for k, v in said.items() if k != "gates"}, "recipes": [r["plugin"] for r in said["recipes"]],
        })  # fmt: skip

    def _incident(self, found: Incident) -> dict[str, Any]:
        said = incident_json(found, self._service.clock())
        present = found.recipes[found.recipe] if found.recipe < len(found.recipes) else ""
        return {**{k: said[k] for k in models.Incident.model_fields if k != "recipe"}, "recipe": present}

    def require(self, name: str) -> None:
        """Refuse a target that is not watched.

        Raises:
            Problem: There is none of this name; it lists those there are.
        """
        if name not in self._service.sites:
            known = ", ".join(self._service.sites)
            raise Problem(
                status=404, kind="unknown-target", title="Unknown target",
                detail=f"no target {name[:60]!r}; there are: {known}",
            )  # fmt: skip


_DETAILS = (
    "suite", "attack", "judge", "frozen", "check_failed", "baseline", "epoch_started_at", "sweeps", "sweeps_failed",
    "newest_sweep", "strata", "series",
)  # fmt: skip
_INCIDENT = ("attempt", "attempts_max", "accepted", "version", "recipes", "events", "seconds", "facts")


def _estimate(profile: Mapping[str, Any] | None, name: str) -> dict[str, Any] | None:
    """Return one figure of a profile, where it has it."""
    found = (profile or {}).get(name)
    return {k: found[k] for k in models.Estimate.model_fields} if isinstance(found, Mapping) else None


def _known(known: KnownRelease) -> dict[str, Any]:
    figures = {name: _estimate(known.profile, name) for name in _FIGURES}
    return {"release": known.release, "good": known.good, "marked_at": known.marked_at, **figures}


def _up(found: Mapping[str, Any]) -> list[dict[str, Any]]:
    return list(found["deployment"]["up"]) if found["deployment"] else []


def _trial(trial: Trial) -> dict[str, Any]:
    held = trial.verification or {}
    gates = [{k: g[k] for k in models.Gate.model_fields} for g in held.get("gates", ())]
    return {"recipe": trial.recipe, "candidate": trial.candidate, "why": trial.why,
            "accepted": held.get("accepted"), "gates": gates}  # fmt: skip
