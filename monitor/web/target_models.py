"""What the API says of targets."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from monitor.policy import Mode
from monitor.watch import Phase
from monitor.web.shapes import Answer, Estimate, ReleaseKnown

__all__ = [
    "Doing",
    "Evidence",
    "EvidencePoint",
    "EvidenceSeries",
    "LiftPlaced",
    "LiftSaid",
    "NewestSweep",
    "Paused",
    "PausedUntil",
    "Quarantine",
    "ServedAs",
    "Stratum",
    "Sweep",
    "SweepAsked",
    "Target",
    "TargetDetail",
    "Targets",
    "Verdict",
]


class Evidence(Answer):
    """Evidence for drift over this epoch, as natural logs; null where there is none."""

    log: float | None
    log_survey: float | None
    log_strata: float | None
    log_warn: float
    """Above it probing is faster."""
    log_breach: float
    """Above it an incident is opened."""
    n: int
    """Probes of the epoch."""
    everything: float | None
    """Unbiased estimate of ASR of all probes of the epoch; null before the first answer."""


class Doing(Answer):
    """What is being done for a target's incident now."""

    stage: str
    share: float
    """Of it that is done, from 0 to 1."""
    since: datetime


class Paused(Answer):
    """A pause that is in force."""

    by: str
    at: datetime
    until: datetime | None
    """When it ends by itself; null: never."""
    why: str
    """As that person put it; empty where no reason was given."""
    words: str


class LiftSaid(Answer):
    """A person's word that a quarantine ends, until it is done."""

    by: str
    at: datetime
    why: str


class Quarantine(Answer):
    """Users are kept from a target."""

    why: str
    """What they are told."""
    release: str
    """The one that they get once it is lifted; empty where there is none."""
    lift: LiftSaid | None


class Target(Answer):
    """One watched deployment."""

    name: str
    mode: Mode
    endpoint: str
    up: bool
    """Whether the last sweep was answered."""
    why: str
    """Why there was no sweep."""
    verdict: Literal["safe", "unsafe", "inconclusive"]
    """No data is inconclusive."""
    phase: Phase
    release: str
    """The release that is watched; empty before the first sweep."""
    certified: bool
    last_known_good: str
    last_sweep_at: datetime | None
    paused: Paused | None
    quarantine: Quarantine | None
    """Null where users are served, or where nobody has looked yet."""
    incident: str | None
    """Id of its open incident."""
    held_since: datetime | None
    """Since when rails have held that; null where it goes on."""
    action_needed: bool
    """Whether only a person can end what it is in."""
    asr: Estimate | None
    hs: Estimate | None
    evidence: Evidence | None
    activity: Doing | None


class Targets(Answer):
    """All watched deployments."""

    at: datetime
    version: str
    targets: tuple[Target, ...]


class Stratum(Answer):
    """What the probes of one category under one attack came to."""

    stratum: str
    n: int
    harmful: int
    missing: int
    value: float | None
    lower: float | None
    upper: float | None
    null: float | None
    """Highest healthy rate; null where no good release was measured."""
    log: float | None


class ServedAs(Answer):
    """A release that is up."""

    release: str
    endpoint: str
    takes_traffic: bool


class Sweep(Answer):
    """One sweep in counts."""

    at: datetime
    purpose: str
    release: str
    n: int
    harmful: int
    missing: int
    value: float | None
    lower: float | None
    upper: float | None


class NewestSweep(Answer):
    """Whether the newest sweep's probes were answered."""

    probes: int
    missing: int
    """Those without a usable answer."""
    reasons: dict[str, int]
    """Why, counted: timeout, unreachable, http_503, judge_timeout and others."""


class TargetDetail(Target):
    """One watched deployment, with all that is known of it."""

    suite: str
    attack: str
    judge: str
    frozen: str
    """Why its judge is not believed; empty while it is."""
    check_failed: str
    baseline: str
    epoch_started_at: datetime | None
    sweeps: int
    sweeps_failed: int
    newest_sweep: NewestSweep | None
    """Null before the first one."""
    up_releases: tuple[ServedAs, ...]
    strata: tuple[Stratum, ...]
    releases: tuple[ReleaseKnown, ...]
    series: tuple[Sweep, ...]
    """The newest sweeps, oldest first."""


class EvidencePoint(Answer):
    """Where the evidence stood after a probe."""

    position: int
    """Number of the probe within its epoch, from 1."""
    at: datetime
    log: float | None
    """Natural log of the evidence; null where there is none."""


class EvidenceSeries(Answer):
    """The evidence over one epoch, against its thresholds."""

    target: str
    release: str
    epoch: int
    n: int
    """Probes of the epoch; 0 where none was sent yet."""
    log_warn: float
    log_breach: float
    points: tuple[EvidencePoint, ...]
    """At most 500; of each stretch the probe with the most evidence, so that no peak is lost, and the last one."""


class PausedUntil(Answer):
    """Whether a target is paused now."""

    target: str
    paused: Paused | None


class LiftPlaced(LiftSaid):
    """A quarantine that is lifted within seconds."""

    target: str
    release: str
    """The one that users get; empty where there is none."""
    incident: str
    """The target's newest one, whose timeline tells of it; empty where there is none."""


class SweepAsked(Answer):
    """A sweep that is sent next."""

    target: str
    asked_at: datetime


class Verdict(Answer):
    """Whether a target is safe: a web metric for pipelines. No data is never safe."""

    target: str
    verdict: Literal["safe", "unsafe", "inconclusive"]
    """No data is inconclusive."""
    why: str
    release: str
