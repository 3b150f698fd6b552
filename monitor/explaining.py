"""Why an incident fired, in plain words with the numbers. Pure; no prompt, no answer."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any

from monitor.baseline import SENTINEL
from monitor.incident import Incident
from monitor.policy import Rates
from monitor.tracing import Part, Point, Trace
from monitor.watch import SURVEY
from probes.statistics.evalues import Decision

__all__ = ["Explanation", "amount", "explain", "headline"]

_SAME = 1e-6
"""Logs that differ by less are the same evidence."""
_MISSING_MAX = 0.05
_SURELY_NOT = (
    "Why the release drifted, and which data did it.",
    "Anything of requests outside the suite and its attacks: an unknown trigger phrase is not seen.",
    "More than the judge does: what it calls harmful by mistake counts as harmful.",
    "Which prompts were answered: the probe log holds no text; see `alignd transcripts`.",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """Why an incident fired.

    Attributes:
        sections: Lines by title, in the order in which they are read.
        trace: The path of the evidence, where the log still gives it.
    """

    incident: Incident
    headline: str
    sections: Mapping[str, tuple[str, ...]]
    trace: Trace | None

    def to_json(self) -> dict[str, Any]:
        """Return plain values; a log of no evidence is null."""
        path = self.trace.window if self.trace else ()
        parts = [asdict(part) for part in self.trace.parts] if self.trace else []
        return {
            "incident": self.incident.id, "target": self.incident.target, "release": self.incident.release,
            "state": self.incident.state.value, "headline": self.headline, "facts": dict(self.incident.facts),
            "fired": [{k: _finite(v) for k, v in part.items()} for part in parts],
            "words": {title: list(lines) for title, lines in self.sections.items()},
            "path": [{k: _finite(v) for k, v in _plain(point).items()} for point in path],
        }  # fmt: skip


def explain(
    incident: Incident, *, trace: Trace | None, rates: Rates | None, per_day: float,
    gaps: Sequence[str] = (),
) -> Explanation:  # fmt: skip
    """Put an incident's figures into words; what isn't known is said to be missing.

    Args:
        trace: The path of its evidence; ``None`` where the log doesn't give it.
        rates: Of its target; ``None`` where that is no longer watched.
        per_day: Probes a day while nothing points to drift.
        gaps: Why something can't be shown.
    """
    evidence = incident.facts.get("evidence", {})
    sections = {
        "What fired": (*_opened(incident), *(_fired(trace) if trace else ())),
        "How strong the evidence is": tuple(_strength(evidence, trace, rates, per_day)),
        "How it rose": tuple(_rise(trace)) if trace else (),
        "Probes without a verdict": tuple(_missing(evidence, trace)),
        "What followed": tuple(_followed(incident, trace)),
        "What is not known": tuple(gaps),
        "What this does not say": _SURELY_NOT,
    }
    return Explanation(
        incident=incident, headline=headline(incident.facts),
        sections={title: lines for title, lines in sections.items() if lines}, trace=trace,
    )  # fmt: skip


def headline(facts: Mapping[str, Any]) -> str:
    """Say in one line, from an incident's facts alone, why it fired; nothing where they don't say."""
    evidence, confirmed = facts.get("evidence", {}), facts.get("confirmation", {})
    if "log_evidence" not in evidence or "gamma_breach" not in evidence:
        return ""
    fired = ", ".join(_named(name) for name in evidence.get("fired", ()))
    said = f"evidence {amount(evidence['log_evidence'])}, threshold {evidence['gamma_breach']:,.0f}"
    checked = f"; confirmation: {confirmed['harmful']} of {confirmed['n']} harmful" if "n" in confirmed else ""
    return f"{fired}: {said}{checked}" if fired else f"{said}{checked}"


def amount(log_value: float) -> str:
    """Write a number of which the natural log is given, for people."""
    if log_value / math.log(10) >= 15:
        return f"10^{log_value / math.log(10):.0f}"
    value = math.exp(log_value)
    for size, word in ((1e12, "trillion"), (1e9, "billion"), (1e6, "million")):
        if value >= size * (1 - _SAME):
            return f"{value / size:.3g} {word}"
    return f"{value:,.0f}" if value >= 10 else f"{value:.2g}"


def _opened(incident: Incident) -> Iterator[str]:
    yield (
        f"Release {incident.release} of target {incident.target}; opened {_at(incident.opened_at)}, "
        f"now {incident.state.value}."
    )


def _fired(trace: Trace) -> Iterator[str]:
    watch = trace.alarm
    baseline = watch.epoch.baseline
    if baseline and watch.nulls:
        counted = sum(t.n for t in baseline.strata.values())
        yield (
            f"Held against {baseline.release}: each stratum against the highest rate that this release may have had "
            f"(99 % bounds of {counted:,} probes, and at least p0), the suite as a whole against p0 = "
            f"{watch.rates.p0:.1%}."
        )
    else:
        yield (
            "No good release was measured well enough before it: the suite as a whole is held against "
            f"p0 = {watch.rates.p0:.1%}."
        )
    for part in trace.parts:
        yield _part(part)
    if SURVEY not in trace.fired and watch.survey.log_r > watch.strata.log_r:
        yield (
            f"The suite as a whole has more evidence than all strata together, {amount(watch.survey.log_r)}: more may "
            "have drifted than what is named."
        )
    elif not any(part.sure for part in trace.parts):
        yield "It takes all parts together to reach the threshold; the one with most evidence is named."


def _part(part: Part) -> str:
    healthy = f"at most {part.null:.1%} is healthy" if part.null is not None else "its healthy rate is not known"
    return (
        f"{_named(part.name)}: {part.harmful_rise:,} of {part.n_rise:,} scored probes harmful since the evidence began "
        f"to rise, {part.harmful:,} of {part.n:,} in the epoch; {healthy}; evidence {amount(part.log_evidence)}."
    )


def _strength(evidence: Mapping[str, Any], trace: Trace | None, rates: Rates | None, per_day: float) -> Iterator[str]:
    if "log_evidence" not in evidence or "gamma_breach" not in evidence:
        return
    gamma, log_r = evidence["gamma_breach"], evidence["log_evidence"]
    yield f"Evidence is {amount(log_r)}, the threshold {gamma:,.0f}."
    often = f"; at {per_day:,.0f} probes a day that is once in {_days(gamma / per_day)}" if per_day else ""
    yield (
        f"In a healthy target it gets to the threshold at most once in {gamma:,.0f} scored probes on average, however "
        f"often it is looked at{often}."
    )
    if rates and per_day:
        yield (
            "A breach is then confirmed on fresh prompts, so that a needless repair takes two errors: on average at "
            f"most {365 * per_day / gamma * rates.alpha:.2g} a year."
        )
    if trace and trace.alarm.nulls:
        yield (
            f"It is the mean of two parts: {amount(trace.alarm.survey.log_r)} for the suite as a whole, "
            f"{amount(trace.alarm.strata.log_r)} for the strata together."
        )
    if trace and abs(trace.alarm.log_r - log_r) > _SAME * max(1.0, abs(log_r)):
        yield (
            f"The log, folded with the present settings, gives {amount(trace.alarm.log_r)}: rates were changed since, "
            "and path and parts are shown as they would be now."
        )


def _rise(trace: Trace) -> Iterator[str]:
    rise, before = trace.rise, trace.quiet
    if not rise:
        return
    first, last = rise[0], rise[-1]
    scored = [p for p in rise if p.harmful is not None]
    yield (
        f"It began to rise with probe {first.position:,} of the epoch ({_at(first.at)}) and fired at probe "
        f"{last.position:,} ({_at(last.at)}): {len(rise):,} probes in {_lasted(last.at - first.at)}, "
        f"{sum(bool(p.harmful) for p in scored):,} of {len(scored):,} scored ones harmful."
    )
    streams = Counter(p.stream for p in rise)
    yield "Of these: " + ", ".join(f"{n:,} {stream}" for stream, n in streams.most_common()) + "."
    if before.gauge.n:
        yield (
            f"Before, {before.gauge.n:,} scored survey probes since {_at(before.epoch.started_at)} had "
            f"{int(before.gauge.total):,} harmful answers."
        )


def _missing(evidence: Mapping[str, Any], trace: Trace | None) -> Iterator[str]:
    if "missing" not in evidence or "n" not in evidence:
        return
    missing, sent = evidence["missing"], evidence["n"] + evidence["missing"]
    share = missing / sent if sent else 0.0
    yield (
        f"{missing:,} of {sent:,} survey probes ({share:.1%}): neither safe nor harmful, they count for nothing."
        + (" That is over 5 %, so that no ASR is given." if share > _MISSING_MAX else "")
    )
    if why := Counter(p.missing for p in (trace.rise if trace else ()) if p.harmful is None):
        yield "Since the evidence began to rise: " + ", ".join(f"{w} {n}" for w, n in why.most_common()) + "."


def _followed(incident: Incident, trace: Trace | None) -> Iterator[str]:
    facts = incident.facts
    if "n" in (found := facts.get("confirmation", {})):
        yield _tested("Confirmation", found, _confirmed(found))
    if "release" in (contained := facts.get("containment", {})):
        yield f"Containment: {contained['release']} was put back into service in {contained['seconds']:.1f} seconds."
    if contained.get("quarantine"):
        yield f"Containment: users were kept from it after {contained['seconds']:.1f} seconds."
    recoveries = {"recovery": "Recovery of the suite", "recovery_of_strata": "Recovery of what fired"}
    for name, title in recoveries.items():
        if "n" in (found := facts.get(name, {})):
            yield _tested(title, found, _recovered(found))
    yield from _canary(trace)
    if incident.events:
        last = incident.events[-1]
        yield f"Last note ({_at(last.at)}): {last.note}"


def _tested(title: str, found: Mapping[str, Any], said: Mapping[str, str]) -> str:
    on = found.get("on", "fresh prompts")
    return f"{title}: {found['harmful']} of {found['n']} answers to {on} harmful; {said.get(found['decision'], '')}."


def _confirmed(found: Mapping[str, Any]) -> Mapping[str, str]:
    yes = no = ""
    if "p0" in found:
        yes = f" (where the rate is at most {found['p0']:.1%}, the chance of that is at most {found['alpha']:.2%})"
        no = f" (where the rate is at least {found['p1']:.1%}, the chance of that is at most {found['beta']:.2%})"
    return {Decision.REJECT: f"confirmed{yes}", Decision.ACCEPT: f"not confirmed{no}",
            Decision.CONTINUE: "undecided when the most allowed were sent"}  # fmt: skip


def _recovered(found: Mapping[str, Any]) -> Mapping[str, str]:
    yes = no = ""
    if "theta" in found:
        yes = f" (where the rate is {found['theta']:.1%} or more, the chance of that is at most {found['delta']:.2%})"
        no = f" (or undecided after {found['cap']} answers)"
    return {Decision.ACCEPT: f"recovered{yes}", Decision.REJECT: f"not recovered{no}", Decision.CONTINUE: "undecided"}


def _canary(trace: Trace | None) -> Iterator[str]:
    if trace is None or not trace.alarm.canary.n:
        return
    test, rates = trace.alarm.canary, trace.alarm.rates
    said = {
        Decision.REJECT: f"worse (if it is not, the chance of that is at most {rates.alpha:.2%})",
        Decision.ACCEPT: f"not worse by {rates.canary_margin:.0%} or more (if it is, the chance of that is at most "
                         f"{rates.beta:.2%})",
        Decision.CONTINUE: "undecided",
    }  # fmt: skip
    yield f"Beside the good release's answers to the same prompts, {test.n:,} pairs: {said[test.decision]}."


def _named(name: str) -> str:
    return {SURVEY: "the suite as a whole", SENTINEL: "sentinels (prompts that the good release always refused)"}.get(
        name, name
    )


def _at(at: datetime) -> str:
    return f"{at:%Y-%m-%d %H:%M:%S} UTC"


def _lasted(time: timedelta) -> str:
    seconds = time.total_seconds()
    for size, unit in ((86400.0, "days"), (3600.0, "hours"), (60.0, "minutes")):
        if seconds >= 2 * size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.0f} seconds"


def _days(days: float) -> str:
    return f"{days:,.0f} days" if days >= 10 else f"{days:.1f} days"


def _plain(point: Point) -> Mapping[str, Any]:
    return {**asdict(point), "at": point.at.isoformat(), "phase": point.phase.value}


def _finite(value: object) -> object:
    return None if isinstance(value, float) and not math.isfinite(value) else value
