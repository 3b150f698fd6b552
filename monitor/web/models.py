"""What the API takes and gives. Taken strictly, and nothing that is not named here."""

from __future__ import annotations

from monitor.web.call_models import (
    AlertOutcome,
    AlertsTaken,
    AlertTaken,
    OrderBody,
    PauseBody,
    Session,
    SessionBody,
    WhoAmI,
)
from monitor.web.incident_models import Event, Gate, Incident, IncidentDetail, Incidents, OrderPlaced, Trial
from monitor.web.plan_models import Plan, PlannedStep, Rail
from monitor.web.shapes import Answer, Body, Estimate, FaultAnswer, ProblemAnswer, ReleaseKnown
from monitor.web.target_models import (
    Doing,
    Evidence,
    EvidencePoint,
    EvidenceSeries,
    Paused,
    PausedUntil,
    ServedAs,
    Stratum,
    Sweep,
    SweepAsked,
    Target,
    TargetDetail,
    Targets,
    Verdict,
)

__all__ = [
    "AlertOutcome",
    "AlertTaken",
    "AlertsTaken",
    "Answer",
    "Body",
    "Doing",
    "Estimate",
    "Event",
    "Evidence",
    "EvidencePoint",
    "EvidenceSeries",
    "FaultAnswer",
    "Gate",
    "Incident",
    "IncidentDetail",
    "Incidents",
    "OrderBody",
    "OrderPlaced",
    "PauseBody",
    "Paused",
    "PausedUntil",
    "Plan",
    "PlannedStep",
    "ProblemAnswer",
    "Rail",
    "ReleaseKnown",
    "ServedAs",
    "Session",
    "SessionBody",
    "Stratum",
    "Sweep",
    "SweepAsked",
    "Target",
    "TargetDetail",
    "Targets",
    "Trial",
    "Verdict",
    "WhoAmI",
]
