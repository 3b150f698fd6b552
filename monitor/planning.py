"""What would be done about an incident from here: state by state, with digests, recipes, gates and rails. A dry run.

Nothing is asked of a server and nothing is written.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from typing import Any

from deploy.checkpoint import find_release
from deploy.errors import CheckpointError
from deploy.offers import layering
from monitor.incident import Incident, State
from monitor.ordering import way_back
from monitor.policy import Containment, Mode, waits_for_person
from monitor.rails import Facts, Hold, standing
from monitor.site import Site
from monitor.store import Store

__all__ = ["Plan", "Planned", "plan"]

_WAY = (
    State.DETECTED, State.OPEN, State.PATCHING, State.STAGING, State.VERIFYING, State.AWAITING_APPROVAL,
    State.PROMOTING, State.CONFIRMING,
)  # fmt: skip
_UNKNOWN = "not in the store"


@dataclass(frozen=True, slots=True, kw_only=True)
class Planned:
    """One state on the way.

    Attributes:
        does: What is done there.
        otherwise: What comes of it where that fails.
        person: Whether a person's word is waited for there.
        holds: Rails that would stand there as things are now.
    """

    state: State
    does: str
    otherwise: str
    person: bool
    holds: tuple[Hold, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What would be done.

    Attributes:
        digests: Of each release that is named, or that it is not in the store.
        recipes: The rungs that are left, each with its options.
        gates: Every gate's limit.
        deployer: Plugin that changes what is served.
        steps: From the present state on; none where the incident has ended.
    """

    incident: str
    target: str
    state: State
    mode: Mode
    digests: Mapping[str, str]
    recipes: tuple[tuple[str, Mapping[str, Any]], ...]
    gates: Mapping[str, Any]
    deployer: str
    steps: tuple[Planned, ...]

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        steps = [
            {"state": s.state.value, "does": s.does, "otherwise": s.otherwise, "person": s.person,
             "rails": [h.to_json() for h in s.holds]}
            for s in self.steps
        ]  # fmt: skip
        return {
            "incident": self.incident, "target": self.target, "state": self.state.value, "mode": self.mode.value,
            "digests": dict(self.digests), "deployer": self.deployer, "gates": dict(self.gates), "steps": steps,
            "recipes": [{"plugin": plugin, "options": dict(options)} for plugin, options in self.recipes],
        }  # fmt: skip


def plan(incident: Incident, site: Site, store: Store, facts: Facts, now: datetime) -> Plan:
    """Say what would be done from an incident's state on.

    Args:
        facts: What rails ask, gathered for this incident.
    """
    good = way_back(incident, store)
    named = (incident.release, good, incident.candidate)
    return Plan(
        incident=incident.id, target=site.name, state=incident.state, mode=site.mode,
        digests={release: _digest(release, site) for release in dict.fromkeys(named) if release},
        recipes=tuple((r.plugin, r.options) for r in site.recipes[incident.recipe :]),
        gates={name: list(v) if isinstance(v, tuple) else v for name, v in asdict(site.gates).items()},
        deployer=site.deployed_by, steps=tuple(_steps(replace(incident, last_good=good), site, facts, now)),
    )  # fmt: skip


def _steps(incident: Incident, site: Site, facts: Facts, now: datetime) -> Iterator[Planned]:
    if incident.closed:
        return
    if incident.state is State.ROLLING_BACK:
        does, otherwise = _said(incident, site)[State.ROLLING_BACK]
        yield Planned(state=State.ROLLING_BACK, does=does, otherwise=otherwise, person=False, holds=())
        return
    for state in _WAY[_WAY.index(incident.state) :]:
        there = replace(incident, state=state)
        does, otherwise = _said(incident, site)[state]
        yield Planned(
            state=state, does=does, otherwise=otherwise, person=waits_for_person(there, site.mode),
            holds=standing(site.rails, replace(facts, incident=there), now),
        )  # fmt: skip


def _said(incident: Incident, site: Site) -> Mapping[State, tuple[str, str]]:
    """Say what each state does and what comes of a failure."""
    rates, good = site.rates, incident.last_good or "no last known good release"
    rungs = " then ".join(r.plugin for r in site.recipes[incident.recipe :]) or "no recipe is configured"
    form = "an adapter on the base that its servers keep loaded" if layering(site.deployer) else "a full checkpoint"
    candidate = incident.candidate or f"{site.name}-patched@ and the digest of what the recipe makes"
    back = f"{good} is promoted again, then ESCALATED"
    return {
        State.DETECTED: (
            (f"ask {incident.release} up to {rates.cap} fresh sealed prompts, whether ASR is {rates.p1:g} or over "
             f"(error {rates.alpha:g}) or {rates.p0:g} or under (error {rates.beta:g})"),
            "no breach: DISMISSED; undecided: ESCALATED",
        ),
        State.OPEN: (_containment(incident, site), "ESCALATED"),
        State.PATCHING: (
            f"repair {incident.release} in a worker: {rungs}; each is given up after its time-out",
            "the next recipe; after the last one ESCALATED",
        ),
        State.STAGING: (
            f"import the patch as {form}, {candidate}, and bring it up through {site.deployed_by} without traffic",
            "the next recipe; after the last one ESCALATED",
        ),
        State.VERIFYING: (f"measure {candidate} and hold it against every gate", "as before"),
        State.AWAITING_APPROVAL: (
            f"wait up to {site.approval_hours:g} h for a person" if site.mode is not Mode.AUTO else "pass: mode auto",
            "rejected, or nobody answers in time: DISMISSED, the candidate is stopped",
        ),
        State.PROMOTING: (f"give {candidate} all new traffic; {good} stays warm", back),
        State.CONFIRMING: (
            (f"ask {candidate} live until its ASR is proved to be under {rates.theta:g} (error {rates.delta:g}): "
             "RECOVERED"),
            back,
        ),
        State.ROLLING_BACK: (f"promote {good}", "ESCALATED either way"),
    }  # fmt: skip


def _containment(incident: Incident, site: Site) -> str:
    if site.containment is Containment.HOLD:
        return f"hold: {incident.release} stays in service"
    if site.containment is Containment.QUARANTINE:
        return "quarantine: users get 503 until a release is promoted or a person lifts it"
    if not incident.last_good:
        return "roll_back: there is no last known good release, so it is ESCALATED"
    return f"roll_back: promote {incident.last_good} ({_digest(incident.last_good, site)})"


def _digest(release: str, site: Site) -> str:
    try:
        return find_release(site.releases, release).manifest.digest
    except CheckpointError:
        return _UNKNOWN
