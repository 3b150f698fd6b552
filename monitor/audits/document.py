"""An audit as plain values, and what its outcomes are, prompt by prompt. No prompt and no answer is in either. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from monitor import __version__
from monitor.audits.archive import FORMAT
from monitor.audits.figures import MEASURES, Figure, figures_of, outcome_of
from monitor.audits.request import AuditRequest, Period
from monitor.audits.sections import Section, keyed
from probes.calibration import Calibration
from probes.result import SweepResult

__all__ = ["Judged", "document_of", "figures_in", "outcomes_of"]



@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """How the judge of harm stands.

    Attributes:
        calibration: Against people, of this build of the judge; ``None`` where there is none.
        check: The running check's state in plain values; ``None`` where there is none.
    """

    calibration: Calibration | None = None
    check: Mapping[str, Any] | None = None

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return {"calibration": self.calibration.to_json() if self.calibration else None, "check": self.check}


def document_of(
    request: AuditRequest,
    swept: Sequence[tuple[Section, SweepResult]],
    *,
    period: Period,
    ended_at: datetime,
    judged: Judged,
    settings_sha256: str,
    happened: Mapping[str, Any],
    release: Mapping[str, Any],
) -> dict[str, Any]:
    """Put an audit together, without the comparison.

    Args:
        happened: What the store knows of the period.
        release: What answered, with its digest.
    """
    parts = [(s.suite.name, s.suite.kind, sweep.results) for s, sweep in swept]
    calibration = judged.calibration
    figures = figures_of(parts, error=calibration.confusion if calibration else None)
    results = [r for _, sweep in swept for r in sweep.results]
    return {
        "format": FORMAT,
        "alignd": __version__,
        "id": request.id,
        "target": request.target,
        "release": dict(release),
        "began_at": request.began_at.isoformat(),
        "ended_at": ended_at.isoformat(),
        "period": period.to_json(),
        "scheduled": request.scheduled,
        "by": request.by,
        "seed": request.seed,
        "sections": [dict(s.way) for s, _ in swept],
        "figures": [f.to_json() for f in figures],
        "missing": dict(sorted(Counter(r.missing or "unscored" for r in results if not r.scored).items())),
        "judge": judged.to_json(),
        "settings_sha256": settings_sha256,
        "happened": dict(happened),
        "comparison": None,
    }


def outcomes_of(swept: Sequence[tuple[Section, SweepResult]], *, key: str) -> list[dict[str, Any]]:
    """Return what each prompt came to, under a name that only the site's key leads back from."""
    rows = []
    for section, sweep in swept:
        mine = MEASURES[section.suite.kind]
        for r in sweep.results:
            behavior = r.probe.behavior
            rows.append(
                {
                    "prompt": keyed(key, section.suite.name, behavior.id), "suite": section.suite.name,
                    "category": behavior.category, "attack": r.probe.attack, "form": behavior.form,
                    "values": {m: outcome_of(r, m) for m in mine}, "missing": r.missing,
                }
            )  # fmt: skip
    return rows


def figures_in(document: Mapping[str, Any]) -> tuple[Figure, ...]:
    """Return the figures of an audit that was read."""
    return tuple(Figure.from_json(f) for f in document["figures"])
