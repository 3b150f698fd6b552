"""What a simulation found, in sentences, a table, plain values and a plot."""

from __future__ import annotations

import math
from typing import Any

from rich.table import Table

from monitor.commands.simulation_svg import Curve, duration, simulation_svg
from probes.statistics.simulation.monitoring import DAY_SECONDS, YEAR_SECONDS, Drift, Monitoring
from probes.statistics.simulation.outlook import FalseAlarms, Found, Outlook
from probes.statistics.simulation.timeline import Passage

__all__ = ["figures", "plot", "sentences"]

_MISSING_MAX = 0.05
"""As the daemon's: over it a breach can't be confirmed."""


def sentences(watched: Monitoring, drift: Drift, found: Outlook) -> list[str | Table]:
    """Tell it to whoever runs the site."""
    said: list[str | Table] = []
    if found.found:
        said += [*_of_found(found.found, found.runs), "", _table(found.found), ""]
    said += [_of_cost(watched, found), *_of_false_alarms(watched, drift, found)]
    if drift.strata:
        said.append(f"Each stratum is held against an ASR of {watched.null:.2g}.")
    if watched.missing > _MISSING_MAX:
        said.append(
            f"{watched.missing:.0%} of the probes are missing: over 5 % no breach is confirmed, mend that first."
        )
    return said


def _of_found(found: Found, runs: int) -> list[str]:
    half, most = found.breached.quantile(0.5), found.breached.quantile(0.9)
    in_a_day = _percent(found.breached.within(DAY_SECONDS))
    sooner = (
        f"Half of {runs:,} such drifts are found within {duration(half[1])} and {_count(half[0])} probes, nine in "
        f"ten within {duration(most[1])} and {_count(most[0])}, {in_a_day} within a day."
    )
    law = found.laws.strata
    then = (
        f"A confirmation on fresh prompts then agrees with {_percent(law.confirmed)}, leaves "
        f"{_percent(law.undecided)} to a person and dismisses {_percent(law.dismissed)}, where the watch begins anew."
    )
    return [sooner, then]


def _of_cost(watched: Monitoring, found: Outlook) -> str:
    idle, burst = f"{found.idle_probes_per_day:,.0f}", f"{found.burst_probes_per_day:,.0f}"
    bound = ", the bound of a day" if found.burst_probes_per_day == watched.probes_per_day else ""
    return f"Watching costs {idle} probes a day on a healthy target, and {burst} a day in a burst{bound}."


def _of_false_alarms(watched: Monitoring, drift: Drift, found: Outlook) -> list[str]:
    alarms = found.false_alarms
    a_year = found.idle_probes_per_day * YEAR_SECONDS / DAY_SECONDS
    breaches = (
        f"False breaches a year: at most {_rate(alarms.breaches_bound)} by theorem ({a_year:,.0f} probes a year over "
        f"gamma_breach = {_short(watched.gamma_breach)}), {_measured(alarms)} measured at an ASR of {drift.before:.3g}."
    )
    remediations = (
        f"False remediations a year: at most {_rate(alarms.remediations_bound)} by theorem (times alpha), "
        f"{_rate(alarms.remediations)} measured."
    )
    return [breaches, remediations]


def _measured(alarms: FalseAlarms) -> str:
    if alarms.breaches < 1e-9:
        return "under 1e-9"
    return f"{_rate(alarms.breaches)} (standard error {alarms.breaches_error / alarms.breaches:.0%})".replace("%", " %")


def _table(found: Found) -> Table:
    table = Table()
    for column in ("", "probes, half", "90 %", "time, half", "90 %", "in a day"):
        table.add_column(column, justify="right" if column else "left")
    for name, passage in _passages(found).items():
        half, most = passage.quantile(0.5), passage.quantile(0.9)
        table.add_row(
            name, _count(half[0]), _count(most[0]), duration(half[1]), duration(most[1]),
            _percent(passage.within(DAY_SECONDS)),
        )  # fmt: skip
    return table


def _passages(found: Found) -> dict[str, Passage]:
    return {"first signs": found.warned, "breach": found.breached, "confirmed": found.settled}


def figures(watched: Monitoring, drift: Drift, found: Outlook) -> dict[str, Any]:
    """Return plain values; what is never reached is ``null``."""
    alarms = found.false_alarms
    result: dict[str, Any] = {
        "runs": found.runs,
        "asr_before": drift.before,
        "asr_after": drift.after,
        "strata": drift.strata,
        "strata_drifted": drift.drifted,
        "stratum_p0": watched.null if drift.strata else None,
        "probes_per_day_idle": found.idle_probes_per_day,
        "probes_per_day_burst": found.burst_probes_per_day,
        "false_breaches_per_year": {"at_most": alarms.breaches_bound, "measured": alarms.breaches,
                                    "standard_error": alarms.breaches_error},
        "false_remediations_per_year": {"at_most": alarms.remediations_bound, "measured": alarms.remediations},
    }  # fmt: skip
    if found.found:
        names = ("warn", "breach", "confirmed")
        passages = zip(names, _passages(found.found).values(), strict=True)
        law = found.found.laws.strata
        result |= {name: _quantiles(passage) for name, passage in passages}
        result["confirmation"] = {"confirmed": law.confirmed, "dismissed": law.dismissed, "undecided": law.undecided}
    return result


def _quantiles(passage: Passage) -> dict[str, float | None]:
    half, most = passage.quantile(0.5), passage.quantile(0.9)
    values = {"probes_median": half[0], "probes_90": most[0], "seconds_median": half[1], "seconds_90": most[1]}
    finite = {name: value if math.isfinite(value) else None for name, value in values.items()}
    return {**finite, "share_within_a_day": passage.within(DAY_SECONDS)}


def plot(name: str, told: str, watched: Monitoring, found: Outlook) -> str:
    """Draw when drifts were found; ``found.found`` must be there."""
    if not found.found:
        raise ValueError("without a drift nothing is there to plot")
    curves = [Curve(name=called, seconds=p.seconds.tolist()) for called, p in _passages(found.found).items()]
    most = found.false_alarms.breaches_bound
    return simulation_svg(
        curves,
        title=f"{name}: time to find that {told}",
        about=f"{found.runs:,} simulated drifts; {found.idle_probes_per_day:,.0f} probes a day while healthy, at most "
        f"{_rate(most)} false breaches a year",
        note=f"p0 {watched.p0:g}, p1 {watched.p1:g}, gamma_warn {_short(watched.gamma_warn)}, gamma_breach "
        f"{_short(watched.gamma_breach)}; batches of {watched.batch} each {duration(watched.interval_seconds)}, of "
        f"{watched.burst_batch} each {duration(watched.burst_interval_seconds)} in a burst",
    )


def _count(probes: float) -> str:
    return f"{probes:,.0f}" if math.isfinite(probes) else "never"


def _short(number: float) -> str:
    return f"{number:g}".replace("e+0", "e").replace("e+", "e")


def _percent(share: float) -> str:
    percent = 100 * share
    if 1e-4 < percent < 0.1:
        return "under 0.1 %"
    if 99.9 < percent < 100 - 1e-4:
        return "over 99.9 %"
    return f"{percent:.1f}".removesuffix(".0") + " %"


def _rate(a_year: float) -> str:
    return f"{a_year:,.0f}" if a_year >= 100 else f"{a_year:.2g}"
