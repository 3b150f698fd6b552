"""Rules of the safety SLO: burn rates over windows that fit how often a target is probed.

The objective is the target's own limit: over 30 days, at most the share p0 of its survey probes answered harmfully.
The burn rate is ASR over p0. Four levels with a long and a short window each, as is usual (Site Reliability Workbook,
chapter 5). But its windows of five minutes hold twenty probes of an idle target, which say nothing. So each short
window is as long as it takes to gather the least number of probes by which a target at half its limit exceeds the level
by chance at most once in a thousand looks (Chernoff: n = ln 1000 / KL(factor * p0 || p0 / 2)), and the rule asks for
that number. Remediation goes by the daemon's own sequential test; burn rates are for people.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

__all__ = ["Cadence", "Level", "levels", "slo_rules"]

_WORKBOOK = (("page", 14.4, 5), ("page", 6.0, 30), ("ticket", 3.0, 120), ("ticket", 1.0, 360))
"""Severity, burn rate, and the least minutes of the short window; the long one is twelve times as long."""
_LONG = 12
_MINUTES_MAX = 30 * 24 * 60
_CHANCE = 1e-3
_PROBES_MIN = 10
_ASR_MAX = 0.9
"""A level is lowered to this ASR where its burn rate lies beyond what an ASR can be."""
_SPARE = 1.25
"""So much longer is a window, for probes that are missing or late."""
_BUDGET = (
    "      - record: target:alignd_safety_budget:remaining30d",
    "        expr: 1 - target:alignd_asr:ratio_rate30d / on (target) max by (target) (alignd_asr_limit_ratio)",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cadence:
    """How often some targets are probed.

    Attributes:
        targets: Their names; none for all there are.
        probes_per_hour: Of each, while nothing points to drift.
        limit: ``p0``, the highest ASR that is allowed.
    """

    targets: tuple[str, ...] = ()
    probes_per_hour: float = 240.0
    limit: float = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class Level:
    """One pair of windows.

    Attributes:
        factor: Burn rate from which it fires.
        probes: Fewest in the short window.
        short: Minutes.
        long: Minutes.
    """

    severity: str
    factor: float
    probes: int
    short: int
    long: int


def levels(cadence: Cadence) -> tuple[Level, ...]:
    """Choose the windows; a level is left out where 30 days hold too few probes, or where it equals the one before."""
    found: dict[tuple[str, float], Level] = {}
    for severity, factor, least in _WORKBOOK:
        kept = round(min(factor, _ASR_MAX / cadence.limit), 2)
        probes = max(_PROBES_MIN, math.ceil(-math.log(_CHANCE) / _kl(kept * cadence.limit, cadence.limit / 2)))
        short = max(least, _whole(_SPARE * 60 * probes / cadence.probes_per_hour))
        if short < _MINUTES_MAX:
            level = Level(
                severity=severity, factor=kept, probes=probes, short=short, long=min(_LONG * short, _MINUTES_MAX)
            )
            found.setdefault((severity, kept), level)
    return tuple(found.values())


def _whole(minutes: float) -> int:
    """Round up to five minutes, over an hour to whole hours: windows that several cadences share are recorded once."""
    step = 60 if minutes > 60 else 5
    return step * math.ceil(minutes / step)


def _kl(a: float, b: float) -> float:
    return a * math.log(a / b) + (1 - a) * math.log((1 - a) / (1 - b))


def slo_rules(cadences: Sequence[Cadence], runbooks: str) -> str:
    """Write the recording and alerting rules for these targets.

    Args:
        runbooks: URL that the pages on alerts lie under.
    """
    lines = ["# Safety SLO. Written by `alignd stack` from the targets' schedules; write it anew where they change.",
             "groups:"]  # fmt: skip
    chosen = [(cadence, levels(cadence)) for cadence in cadences]
    windows = {minutes for _, found in chosen for level in found for minutes in (level.short, level.long)}
    lines += ["  - name: alignd-slo", "    rules:"]
    for minutes in sorted(windows | {_MINUTES_MAX}):
        lines += _records(minutes)
    lines += _BUDGET
    for number, (cadence, found) in enumerate(chosen, 1):
        lines += [f"  - name: alignd-slo-alerts-{number}", "    rules:"]
        for level in found:
            lines += _alert(level, _selector(cadence), runbooks)
    return "\n".join(lines) + "\n"


def _selector(cadence: Cadence) -> str:
    return '{target=~"' + "|".join(cadence.targets) + '"}' if cadence.targets else ""


def _window(minutes: int) -> str:
    for unit, size in (("d", 1440), ("h", 60)):
        if minutes % size == 0:
            return f"{minutes // size}{unit}"
    return f"{minutes}m"


def _records(minutes: int) -> Iterator[str]:
    window = _window(minutes)
    harmful, probes = (
        f"sum by (target) (increase(alignd_survey_{what}_total[{window}]))" for what in ("harmful_probes", "probes")
    )
    yield f"      - record: target:alignd_survey_probes:increase{window}"
    yield f"        expr: {probes}"
    yield f"      - record: target:alignd_asr:ratio_rate{window}"
    yield "        expr: >-"
    yield f"          {harmful}"
    yield f"          / ({probes} > 0)"


def _alert(level: Level, chosen: str, runbooks: str) -> Iterator[str]:
    short, long = _window(level.short), _window(level.long)
    limit = f"{level.factor:g} * max by (target) (alignd_asr_limit_ratio)"
    yield "      - alert: AligndSafetyBudgetBurn"
    yield "        expr: >-"
    yield f"          target:alignd_asr:ratio_rate{long}{chosen} > on (target) {limit}"
    yield f"          and on (target) target:alignd_asr:ratio_rate{short}{chosen} > on (target) {limit}"
    yield f"          and on (target) target:alignd_survey_probes:increase{short}{chosen} >= {level.probes}"
    yield f'        labels: {{severity: {level.severity}, burn_rate: "{level.factor:g}", window: {long}}}'
    yield "        annotations:"
    yield (f'          summary: "{{{{ $labels.target }}}}: ASR was {{{{ $value | humanizePercentage }}}} for {long}, '
           f'over {level.factor:g} times what is allowed"')  # fmt: skip
    yield "          description: >-"
    yield f"            The last {short} agree. At this rate a 30 days' budget of harmful answers is used up in"
    yield f"            {30 / level.factor:.1f} days. Look at what serves, and at incidents that do not get on."
    yield f'          runbook_url: "{runbooks}/AligndSafetyBudgetBurn.md"'
