"""What is known of all targets, as plain values: the one source of CLI, HTTP API and metrics."""

from __future__ import annotations

import math
from dataclasses import asdict
from datetime import datetime, timedelta
from typing import Any

from monitor import __version__
from monitor.explaining import headline
from monitor.incident import Incident, State, seconds_by_state
from monitor.pausing import pause_in_force, pause_words
from monitor.policy import pace
from monitor.probe_log import Epoch
from monitor.service import Service
from monitor.site import Site
from monitor.store import SweepSummary
from monitor.view import View
from monitor.watch import Phase, Watch
from probes.statistics.confidence import clopper_pearson
from probes.statistics.evalues import Decision

__all__ = ["incident_json", "status_json", "verdict_json"]


def status_json(service: Service, *, series: int = 200) -> dict[str, Any]:
    """Say everything about all targets.

    Args:
        series: Sweeps to give for each target; 0 gives none.
    """
    now = service.clock()
    return {
        "version": __version__,
        "at": now.isoformat(),
        "targets": [_target(service, name, series) for name in service.sites],
        "store": service.upkeep.to_json(),
        "schedule": service.timing.to_json(now),
        "incidents": [incident_json(i, now) for i in service.store.incidents()],
    }


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
    last = incident.events[-1].note if incident.events else ""
    return not incident.closed and last.startswith("action needed")


def verdict_json(service: Service, name: str) -> dict[str, Any]:
    """Say ``safe``, ``unsafe`` or ``inconclusive``: no data is neither safe nor unsafe."""
    current = service.watched(name)
    view = service.view(name)
    if current is None:
        return {"target": name, "verdict": "inconclusive", "why": view.why, "release": ""}
    epoch, watch = current
    opened = [i for i in service.store.incidents(target=name, open_only=True) if i.release == epoch.release]
    good = {k.release for k in service.store.known(name) if k.good}
    verdict, why = "inconclusive", view.why or "not enough probes yet"
    if frozen := service.checks.frozen(name):
        why = frozen
    elif watch.phase is Phase.BREACH or any(i.state is not State.DETECTED for i in opened):
        verdict, why = "unsafe", "evidence of drift is over the threshold"
    elif opened or watch.phase is Phase.BURST:
        why = "there is some evidence of drift"
    elif view.up and (epoch.release in good or watch.certified):
        verdict, why = "safe", "certified by the sequential test"
    return {"target": name, "verdict": verdict, "why": why, "release": epoch.release}


def _target(service: Service, name: str, series: int) -> dict[str, Any]:
    site, current = service.sites[name], service.watched(name)
    view = service.view(name)
    opened = service.store.incidents(target=name, open_only=True)
    doing, known = service.activities.get(name), service.store.known(name)
    return {
        "name": name,
        "mode": site.mode.value,
        "endpoint": site.endpoint,
        "suite": site.measure.harm.name,
        "attack": "+".join(a.attack.name for a in site.measure.attacks),
        "judge": site.measure.judge.id,
        "up": view.up,
        "paused": pause_words(pause) if (pause := pause_in_force(service.store, name, service.clock())) else "",
        "why": view.why,
        "last_sweep_at": view.last_sweep_at.isoformat() if view.last_sweep_at else None,
        "next_sweep_at": _next_sweep(service, site, view),
        "sweeps": view.sweeps,
        "sweeps_failed": view.sweeps_failed,
        "transcripts_failed": site.measure.recorder.failed,
        "deployment": asdict(view.deployment) if view.deployment else None,
        "served": [s.to_json() for s in service.mending.served.get(name, ())],
        "mends": service.mending.mends[name],
        "release": current[0].release if current else "",
        "epoch_started_at": current[0].started_at.isoformat() if current else None,
        "phase": current[1].phase.value if current else Phase.IDLE.value,
        "asr": asdict(current[1].asr) if current else None,
        "hs": asdict(current[1].hs) if current else None,
        "evidence": _evidence(current[1]) if current else None,
        "strata": _strata(current[1]) if current else [],
        "canary": _canary(current[1]) if current else None,
        "baseline": current[0].baseline.release if current and current[0].baseline else "",
        "urgency": service.prober.urgency(name),
        **_checks(service, name, current[0] if current else None),
        "certified": bool(current and current[1].certified),
        "last_known_good": service.last_good(name),
        "verdict": verdict_json(service, name)["verdict"],
        "incident": opened[0].id if opened else None,
        "action_needed": _needs_a_person(service, name, opened[0] if opened else None, current),
        "activity": {"stage": doing.stage, "share": doing.share, "since": doing.since.isoformat()} if doing else None,
        "releases": [{**asdict(k), "marked_at": k.marked_at.isoformat()} for k in known],
        "series": [_point(s) for s in service.store.sweeps(name, limit=series)] if series else [],
    }


def _next_sweep(service: Service, site: Site, view: View) -> str | None:
    """Say when a target is probed next: as planned, or as the last sweep tells a process that plans nothing itself."""
    planned = service.timing.next_run(f"tick-{site.name}")
    if planned is None and view.up and view.last_sweep_at:
        planned = view.last_sweep_at + timedelta(seconds=pace(site.schedule, service.prober.urgency(site.name))[0])
    return planned.isoformat() if planned else None


def _evidence(watch: Watch) -> dict[str, Any]:
    return {
        "log": _finite(watch.log_r),
        "log_survey": _finite(watch.survey.log_r),
        "log_strata": _finite(watch.strata.log_r),
        "log_warn": math.log(watch.rates.gamma_warn),
        "log_breach": math.log(watch.rates.gamma_breach),
        "n": watch.position,
        "everything": watch.everything.value,
    }


def _needs_a_person(
    service: Service, name: str, opened: Incident | None, current: tuple[Epoch, Watch] | None
) -> bool:
    """Whether only a person ends it: a frozen judge, a log that can't be read, a server, an incident, a breach."""
    if service.checks.frozen(name) or service.mending.given_up(name):
        return True
    if current is None and service.store.latest_epoch(name):
        return True
    return action_needed(opened) if opened else bool(current and current[1].phase is Phase.BREACH)


def _checks(service: Service, name: str, epoch: Epoch | None) -> dict[str, Any]:
    judge = service.checks.judge(name)
    wire = service.checks.tripwire(name, epoch) if epoch else None
    return {
        "frozen": service.checks.frozen(name),
        "judge_check": judge.to_json() if judge else None,
        "tripwire": wire.to_json() if wire else None,
        "check_failed": service.checks.why.get(name, ""),
    }


def _strata(watch: Watch) -> list[dict[str, Any]]:
    """Say what is known of each stratum, the one with most evidence first."""
    found = []
    for name, stratum in watch.by_stratum.items():
        gauge = stratum.gauge
        lower, upper = gauge.interval
        found.append({
            "stratum": name, "n": gauge.n, "harmful": int(gauge.total), "missing": stratum.missing,
            "value": gauge.total / gauge.n if gauge.n else None, "lower": lower, "upper": upper,
            "null": watch.nulls.get(name), "log": _finite(watch.strata.log_r_of(name)),
        })  # fmt: skip
    return sorted(found, key=lambda s: (-(s["log"] if s["log"] is not None else -math.inf), s["stratum"]))


def _canary(watch: Watch) -> dict[str, Any]:
    test = watch.canary
    said = {Decision.CONTINUE: "undecided", Decision.REJECT: "worse", Decision.ACCEPT: "not worse"}
    return {"n": test.n, "log_worse": test.log_e_worse, "log_no_worse": test.log_e_no_worse,
            "decision": said[test.decision]}  # fmt: skip


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _point(sweep: SweepSummary) -> dict[str, Any]:
    lower, upper = clopper_pearson(sweep.harmful, sweep.n) if sweep.n else (None, None)
    return {
        "at": sweep.at.isoformat(), "purpose": sweep.purpose, "release": sweep.release, "n": sweep.n,
        "harmful": sweep.harmful, "missing": sweep.missing,
        "value": sweep.harmful / sweep.n if sweep.n else None, "lower": lower, "upper": upper,
    }  # fmt: skip
