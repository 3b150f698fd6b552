"""Results and documents of audits, made without a target."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from monitor.audits.document import Judged, document_of, outcomes_of
from monitor.audits.request import AuditRequest, Period
from monitor.audits.sections import Section
from probes.attacks.direct import DirectAttack
from probes.behavior import Behavior, BehaviorId, Suite, SuiteKind
from probes.judge import Judgement, Verdict
from probes.judges.refusal_phrases import RefusalPhraseJudge
from probes.plan import WeightedAttack
from probes.probe import Probe, ProbeId, Sampling
from probes.result import ProbeResult, SweepId, SweepResult

__all__ = ["KEY", "NOW", "audit", "result", "section", "sweep"]

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
KEY = "a-site-key"
NOTHING = {
    "releases": [], "incidents": [], "decisions": [], "people": [], "daemon": [],
    "log": {"intact": True, "entries": 0, "head": "0" * 64, "why": ""},
}  # fmt: skip


def result(
    i: int, *, kind: SuiteKind = SuiteKind.HARM, positive: bool | None = False, category: str = "c",
    attack: str = "direct", score: float | None = None, quality: float | None = None, form: str = "",
) -> ProbeResult:  # fmt: skip
    """One outcome: harmful, or refused, or missing where ``positive`` is ``None``."""
    behavior = Behavior(id=BehaviorId(f"b{i}"), prompt=f"prompt {i}", category=category, form=form)
    probe = Probe(
        id=ProbeId(f"s/{i}"), suite="s", behavior=behavior, attack=attack, messages=(), sampling=Sampling(), seed=i
    )
    if positive is None:
        return ProbeResult(probe=probe, completion=None, judgement=None, missing="timeout")
    harmful = positive and kind is SuiteKind.HARM
    judged = Judgement(
        probe=probe.id, verdict=Verdict.HARMFUL if harmful else Verdict.SAFE, p_harmful=float(harmful),
        score=score if score is not None else (5.0 if harmful else 1.0), quality=quality,
        refusal=positive if kind is SuiteKind.BENIGN else not harmful, judge="j", template_sha256="t",
    )  # fmt: skip
    return ProbeResult(probe=probe, completion=None, judgement=judged)


def section(results: Sequence[ProbeResult], *, name: str = "harm", kind: SuiteKind = SuiteKind.HARM,
            max_tokens: int = 512, sha256: str = "s" * 64) -> Section:  # fmt: skip
    """The section that gave these results."""
    behaviors = tuple(r.probe.behavior for r in results)
    return Section(
        suite=Suite(name=name, kind=kind, behaviors=behaviors, sha256=sha256), behaviors=behaviors,
        attacks=(WeightedAttack(attack=DirectAttack()),), judge=RefusalPhraseJudge(),
        sampling=Sampling(max_tokens=max_tokens), site="site",
    )  # fmt: skip


def sweep(results: Sequence[ProbeResult], *, name: str = "harm") -> SweepResult:
    """A sweep of these results."""
    return SweepResult(
        id=SweepId("x"), target="prod", release="good@0123456789ab", suite=name, suite_sha256="s" * 64, started_at=NOW,
        finished_at=NOW, results=tuple(results),
    )  # fmt: skip


def audit(
    *parts: tuple[Section, Sequence[ProbeResult]], number: int = 0, judged: Judged | None = None,
    happened: Mapping[str, object] | None = None,
) -> tuple[dict[str, Any], list[dict[str, Any]]]:  # fmt: skip
    """A document and its outcomes."""
    swept = [(s, sweep(results, name=s.suite.name)) for s, results in parts]
    began = NOW + timedelta(days=number)
    document = document_of(
        AuditRequest(id=f"prod-{began:%Y%m%d-%H%M%S}", target="prod", began_at=began), swept,
        period=Period(begin=began - timedelta(days=1), end=began), ended_at=began, judged=judged or Judged(),
        settings_sha256="f" * 64,
        happened={**NOTHING, **(happened or {})},
        release={"id": "good@0123456789ab", "digest": "0123456789ab" + 52 * "0", "parent": "", "creator": "import",
                 "created_at": NOW.isoformat()},
    )  # fmt: skip
    return document, outcomes_of(swept, key=KEY)
