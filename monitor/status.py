"""What is known of all targets, as plain values: the one source of CLI, HTTP API and metrics."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from datetime import datetime, timedelta
from typing import Any

from monitor import __version__
from monitor.explaining import headline
from monitor.incident import Incident, State, Wait, seconds_by_state
from monitor.pausing import in_force, pause_words
from monitor.policy import pace
from monitor.probe_log import Epoch
from monitor.quarantine import Lift
from monitor.service import Service
from monitor.site import Site
from monitor.store import KnownRelease, Pause, Store, SweepSummary
from monitor.view import View
from monitor.watch import Phase, Watch
from probes.statistics.confidence import clopper_pearson

__all__ = ["incident_json", "listed_incidents", "status_json", "targets_json", "verdict_json"]

_OF_A_RELEASE = tuple(f.name for f in fields(KnownRelease))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Stored:
    """What the store says of all targets, read once and not once for each.

    Attributes:
        newest: Each target's newest incident; where one is open, it is this.
    """

    now: datetime
    newest: Mapping[str, Incident]
    counts: Mapping[str, Mapping[str, int]]
    known: Mapping[str, Sequence[KnownRelease]]
    pauses: Mapping[str, Pause]
    lifts: Mapping[str, Lift]
    breakers: Mapping[str, Mapping[str, Any]]

    def opened(self, name: str) -> Incident | None:
        """Return a target's open incident."""
        newest = self.newest.get(name)
        return newest if newest and not newest.closed else None


def _stored(service: Service) -> _Stored:
    store = service.store
    return _Stored(
        now=service.clock(), newest=store.newest_incidents(), counts=store.incident_counts(), known=store.all_known(),
        pauses=store.pauses(), lifts=store.lifts(), breakers=service.reconciler.railing.breakers(),
    )  # fmt: skip


def status_json(service: Service, *, series: int = 200) -> dict[str, Any]:
    """Say everything about all targets.

    Args:
        series: Sweeps to give for each target; 0 gives none.
    """
    stored = _stored(service)
    return {
        "version": __version__,
        "at": stored.now.isoformat(),
        "targets": [_target(service, name, stored, series) for name in service.sites],
        "store": {**service.upkeep.to_json(), "writable": service.store.writable},
        "notifications": service.outbox.to_json(),
        "schedule": service.timing.to_json(stored.now),
        "configuration": service.configuration.to_json(),
        "incidents": [incident_json(i, stored.now) for i in listed_incidents(service.store)],
    }


def targets_json(service: Service, names: Iterable[str], *, series: int = 0) -> list[dict[str, Any]]:
    """Say everything about these targets, with so many sweeps of each."""
    stored = _stored(service)
    return [_target(service, name, stored, series) for name in names]


def listed_incidents(store: Store, *, target: str = "", limit: int = 100) -> tuple[Incident, ...]:
    """List so many of the newest incidents, then what is open beside them: that is older."""
    found = (*store.incidents(target=target, limit=limit), *store.incidents(target=target, open_only=True))
    return tuple({i.id: i for i in found}.values())


def incident_json(incident: Incident, now: datetime) -> dict[str, Any]:
    """Say everything about one incident, with the seconds spent in each state."""
    return {
        **incident.to_json(),
        "closed": incident.closed,
        "headline": headline(incident.facts),
        "action_needed": action_needed(incident),
        "seconds": seconds_by_state(incident, now),
    }


def action_needed(incident: Incident) -> bool:
    """Whether the incident waits for a person."""
    waits_for = incident.events[-1].waits_for if incident.events else None
    return not incident.closed and waits_for in {Wait.APPROVAL, Wait.PERSON}


def verdict_json(service: Service, name: str) -> dict[str, Any]:
    """Say ``safe``, ``unsafe`` or ``inconclusive``: no data is neither safe nor unsafe."""
    opened = next(iter(service.store.incidents(target=name, open_only=True)), None)
    return _verdict(service, name, opened, service.store.known(name))


def _verdict(service: Service, name: str, opened: Incident | None, known: Sequence[KnownRelease]) -> dict[str, Any]:
    current, view = service.watched(name), service.view(name)
    if current is None:
        return {"target": name, "verdict": "inconclusive", "why": view.why, "release": ""}
    epoch, watch = current
    if opened and opened.release != epoch.release:
        opened = None
    good = {k.release for k in known if k.good}
    verdict, why = "inconclusive", view.why or "not enough probes yet"
    if frozen := service.checks.frozen(name, again=False):
        why = frozen
    elif watch.phase is Phase.BREACH or (opened and opened.state is not State.DETECTED):
        verdict, why = "unsafe", "evidence of drift is over the threshold"
    elif opened or watch.phase is Phase.BURST:
        why = "there is some evidence of drift"
    elif view.up and (epoch.release in good or watch.certified):
        verdict, why = "safe", "certified by the sequential test"
    return {"target": name, "verdict": verdict, "why": why, "release": epoch.release}


def _target(service: Service, name: str, stored: _Stored, series: int) -> dict[str, Any]:
    site, current = service.sites[name], service.watched(name)
    view = service.view(name)  # after the watch, whose reading finds a damaged log
    figures = service.figures.of(name, current)
    opened, newest, known = stored.opened(name), stored.newest.get(name), stored.known.get(name, ())
    doing, pause = service.activities.of(name), in_force(stored.pauses.get(name), stored.now)
    urgency = service.prober.urgency_beside(name, opened)
    return {
        "name": name,
        "mode": site.mode.value,
        "endpoint": site.endpoint,
        "suite": site.measure.harm.name,
        "attack": "+".join(a.attack.name for a in site.measure.attacks),
        "judge": site.measure.judge.id,
        "up": view.up,
        "paused": pause_words(pause) if pause else "",
        "why": view.why,
        "last_sweep": view.last_sweep,
        "last_sweep_at": view.last_sweep_at.isoformat() if view.last_sweep_at else None,
        "next_sweep_at": _next_sweep(service, site, view, urgency),
        "sweeps": view.sweeps,
        "sweeps_failed": view.sweeps_failed,
        "newest_sweep": view.newest_sweep(),
        "survey": {"scored": view.scored, "harmful": view.harmful, "missing": view.missing},
        "interval_seconds": site.schedule.interval_seconds,
        "asr_limit": site.rates.p0,
        "judge_check_seconds": 3600 * site.judge_check_hours,
        "transcripts_failed": site.measure.recorder.failed,
        "deployment": asdict(view.deployment) if view.deployment else None,
        "quarantine": _quarantine(view, stored.lifts.get(name)),
        "served": [s.to_json() for s in service.mending.served.get(name, ())],
        "mends": service.mending.mends[name],
        "audits": service.planned.to_json(name),
        **figures,
        "urgency": urgency,
        **_checks(service, name),
        "last_known_good": next((k.release for k in known if k.good and k.release != figures["release"]), ""),
        "verdict": _verdict(service, name, opened, known)["verdict"],
        "incident": opened.id if opened else None,
        "rails": opened.facts.get("held", []) if opened else [],
        "held_since": opened.facts.get("held_since") or None if opened else None,
        "breaker": stored.breakers[name],
        "incidents": stored.counts.get(name, {}),
        "newest_incident": _newest(newest, stored.now) if newest else None,
        "left_to_a_person": _left_to_a_person(service, newest, current),
        "action_needed": _needs_a_person(service, name, opened, figures["phase"]),
        "activity": {"stage": doing.stage, "share": doing.share, "since": doing.since.isoformat()} if doing else None,
        "releases": [_release(k) for k in known],
        "series": [_point(s) for s in service.store.sweeps(name, limit=series)] if series else [],
    }


def _quarantine(view: View, lift: Lift | None) -> dict[str, Any] | None:
    """Say why users are kept out, what a lift gives them, and whether a person has said so."""
    if (found := view.quarantine) is None:
        return None
    said = {"by": lift.by, "at": lift.at.isoformat(), "why": lift.why} if lift else None
    return {"why": found.why, "release": found.release, "lift": said}


def _next_sweep(service: Service, site: Site, view: View, urgency: float) -> str | None:
    """Say when a target is probed next: as planned, or as the last sweep tells a process that plans nothing itself."""
    planned = service.timing.next_run(f"tick-{site.name}")
    if planned is None and view.up and view.last_sweep_at:
        planned = view.last_sweep_at + timedelta(seconds=pace(site.schedule, urgency)[0])
    return planned.isoformat() if planned else None


def _newest(incident: Incident, now: datetime) -> dict[str, Any]:
    seconds = seconds_by_state(incident, now)
    return {"state": incident.state.value, "attempts": incident.attempt, "seconds": seconds}


def _release(known: KnownRelease) -> dict[str, Any]:
    return {name: getattr(known, name) for name in _OF_A_RELEASE} | {"marked_at": known.marked_at.isoformat()}


def _left_to_a_person(service: Service, newest: Incident | None, current: tuple[Epoch, Watch] | None) -> str:
    """Name the escalated incident for which a breach of what is served opens no other; empty where it opens one."""
    if newest and current and service.opening.left_to_a_person(newest, current[0].release, current[1]):
        return newest.id
    return ""


def _needs_a_person(service: Service, name: str, opened: Incident | None, phase: str) -> bool:
    """Whether only a person ends it: a frozen judge, a log that can't be read, a server, an incident, a breach."""
    if service.checks.frozen(name, again=False) or service.mending.given_up(name):
        return True
    if service.watched(name) is None and service.prober.past.epoch(name):
        return True
    return action_needed(opened) if opened else phase == Phase.BREACH


def _checks(service: Service, name: str) -> dict[str, Any]:
    judge, current = service.checks.judge(name, again=False), service.watched(name)
    wire = service.checks.tripwire(name, current[0]) if current else None
    return {
        "frozen": service.checks.frozen(name, again=False),
        "judge_check": judge.to_json() if judge else None,
        "tripwire": wire.to_json() if wire else None,
        "check_failed": service.checks.why.get(name, ""),
    }


def _point(sweep: SweepSummary) -> dict[str, Any]:
    lower, upper = clopper_pearson(sweep.harmful, sweep.n) if sweep.n else (None, None)
    return {
        "at": sweep.at.isoformat(), "purpose": sweep.purpose, "release": sweep.release, "n": sweep.n,
        "harmful": sweep.harmful, "missing": sweep.missing,
        "value": sweep.harmful / sweep.n if sweep.n else None, "lower": lower, "upper": upper,
    }  # fmt: skip
