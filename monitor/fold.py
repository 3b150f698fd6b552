"""From the probe log to the watch, record by record; in one go or in parts, it comes to the same, to the bit. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from monitor.baseline import SENTINEL
from monitor.errors import LogFault
from monitor.probe_log import LogEntry
from monitor.watch import Phase, Watch, new_stratum
from probes.statistics.evalues import Decision

__all__ = ["fold"]


def fold(watch: Watch, entries: Iterable[LogEntry]) -> Watch:
    """Add probes in the order of the log; missing ones count as neither safe nor harmful.

    Raises:
        LogFault: A record is of another epoch, is there twice, or one before it is gone.
    """
    for entry in entries:
        watch = _with(watch, entry)
    return watch


def _with(watch: Watch, entry: LogEntry) -> Watch:
    _require_next(watch, entry)
    stratum = _stratum(watch, entry)
    before = watch.by_stratum.get(stratum) or new_stratum()
    surveyed = entry.stream == "survey"
    if entry.harmful is None:
        known = replace(before, missing=before.missing + 1, surveyed=before.surveyed + surveyed)
        return replace(
            watch, position=entry.position, missing=watch.missing + surveyed,
            by_stratum={**watch.by_stratum, stratum: known},
        )  # fmt: skip
    phi = entry.weight * entry.harmful
    known = replace(before, gauge=before.gauge.update(float(entry.harmful)), surveyed=before.surveyed + surveyed)
    survey, strata, everything = watch.survey, watch.strata, watch.everything
    if stratum in watch.nulls:
        strata = strata.update(stratum, phi)
    if stratum != SENTINEL and (surveyed or watch.flat):
        survey = survey.update(phi)
    if entry.stream != SENTINEL:
        everything = everything.update(phi, entry.share, entry.probability)
    watch = replace(
        watch, position=entry.position, by_stratum={**watch.by_stratum, stratum: known}, survey=survey, strata=strata,
        everything=everything,
    )  # fmt: skip
    return _settled(_surveyed(watch, entry, phi) if surveyed else watch)


def _surveyed(watch: Watch, entry: LogEntry, phi: float) -> Watch:
    """Add a probe that was drawn as the suite is."""
    certificate = watch.certificate
    if certificate.decision is Decision.CONTINUE:
        certificate = certificate.update(bool(entry.harmful), sampled=entry.sampled)
    canary, compared, pair = watch.canary, watch.compared, (entry.behavior, entry.attack)
    if entry.before is not None and pair not in compared and not watch.dealt and canary.decision is Decision.CONTINUE:
        canary = canary.update(int(bool(entry.harmful)) - int(entry.before))
        compared |= {pair}
    found = float(bool(entry.harmful))
    scores = watch.scores
    if entry.score is not None and entry.sampled:
        scores = scores.update(entry.score)
    return replace(
        watch, scores=scores, canary=canary, compared=compared, certificate=certificate,
        gauge=watch.gauge.update(found), weighed=watch.weighed + phi,
        sampled=watch.sampled.update(found) if entry.sampled else watch.sampled,
    )  # fmt: skip


def _settled(watch: Watch) -> Watch:
    phase = watch.phase
    if phase is Phase.BREACH:
        return watch if watch.breached else replace(watch, breached=True)
    if phase is Phase.IDLE and watch.breached:
        return replace(watch, breached=False, settled=True)
    return watch


def _stratum(watch: Watch, entry: LogEntry) -> str:
    if entry.stream == SENTINEL:
        return SENTINEL
    baseline = watch.epoch.baseline
    return baseline.stratum_of(entry.category, entry.attack) if baseline else f"{entry.category}/{entry.attack}"


def _require_next(watch: Watch, entry: LogEntry) -> None:
    epoch, wanted = watch.epoch, watch.position + 1
    name = f"probe log of target {epoch.target}, epoch {epoch.id}, record {entry.position} (sweep {entry.sweep})"
    way_out = f"put the database back from a copy, or begin anew with `alignd epoch new {epoch.target}`"
    if entry.epoch != epoch.id:
        raise LogFault(f"{name}: it belongs to epoch {entry.epoch}; {way_out}")
    if entry.position < wanted:
        raise LogFault(f"{name}: it is there twice, or out of order; {way_out}")
    if entry.position > wanted:
        raise LogFault(f"{name}: record {wanted} before it is gone; {way_out}")
