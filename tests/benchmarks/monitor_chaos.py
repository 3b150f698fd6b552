"""Faults of real parts, alone and in pairs, with and without drift: ``python -m tests.benchmarks.monitor_chaos``.

HAProxy, the supervisor, its servers (fake ones under vLLM's name), the daemon with its SQLite store, a judge behind
HTTP, the workers and Prometheus with the shipped alerts (without their waits) are real processes. Parts fail together;
each is made good once it was seen. Then nothing may have been remediated without drift, and with drift an incident must
open in time and be acted on; each fault must have shown as a metric and fired its alert, Prometheus's own by scraping
again.

Prints a table and, as its last line, one JSON object. ``--only target+judge/breach`` plays one case.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import re
import shutil
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, field

from monitor.audit import verify
from monitor.incident import State
from tests.chaos_site import FAKETIME, FAULTS, ChaosSite, chaos_site

__all__ = ["Case", "Seen", "cases", "faults_of", "main", "play"]

PAIRS = (
    ("target", "judge"), ("target", "store"), ("judge", "clock"), ("disk", "prometheus"), ("store", "worker"),
    ("worker", "prometheus"),
)  # fmt: skip
"""Each part is in one; those where one fault may hide the other come first."""
_TOGETHER_SECONDS, _FAULTS_SECONDS = 3.0, 30.0
_OPENS_SECONDS = 20.0
_ACTS_SECONDS = 60.0
_OPENED = r"^alignd_incidents\{[^}]*\} [1-9]"
_ACTED_ON = r'^alignd_incidents\{[^}]*state="(?!DETECTED|DISMISSED)[^}]*\} [1-9]'
_SWEEPS_AFTER = 4
_LOOK_SECONDS = 0.2
_HARMLESS = frozenset({State.DETECTED, State.DISMISSED})
"""An incident that was not confirmed has changed nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """What fails, and whether the target turns harmful meanwhile."""

    parts: tuple[str, ...]
    breach: bool

    @property
    def name(self) -> str:
        return f"{'+'.join(self.parts)}/{'breach' if self.breach else 'healthy'}"


@dataclass(slots=True, kw_only=True)
class Seen:
    """What was seen of a case.

    Attributes:
        metrics: Parts whose fault showed in the daemon's metrics; ``alerts``: whose alert fired.
        states: States that incidents were in, in order.
        opened_seconds: From the end of the last fault until an incident was seen; 0 where one was open before.
        acted_seconds: Until one was seen that was confirmed.
        served: Whether the good release serves users at the end.
        ends: Exit codes of daemons that ended by themselves.
        audit: What is wrong with the audit log.
        broken: Why the case could not be played to its end.
    """

    metrics: set[str] = field(default_factory=set)
    alerts: set[str] = field(default_factory=set)
    states: list[str] = field(default_factory=list)
    opened_seconds: float | None = None
    acted_seconds: float | None = None
    served: bool = True
    ends: list[int] = field(default_factory=list)
    audit: str = ""
    broken: str = ""
    seconds: float = 0.0


def cases(*, clock: bool = True) -> list[Case]:
    """List the cases: without drift no worker runs, and none fails; without a clock to set none is set."""
    together = [*((part,) for part in FAULTS), *PAIRS]
    there = [parts for parts in together if clock or "clock" not in parts]
    return [Case(parts=p, breach=b) for p in there for b in (False, True) if b or "worker" not in p]


def faults_of(case: Case, seen: Seen) -> tuple[str, ...]:
    """Say what is wrong with what was seen."""
    return tuple(_faults(case, seen))


def _faults(case: Case, seen: Seen) -> Iterator[str]:
    if seen.broken:
        yield seen.broken
        return
    past = [s for s in seen.states if s not in _HARMLESS]
    if not case.breach and past:
        yield f"false remediation: {', '.join(past)}"
    if not case.breach and not seen.served:
        yield "false remediation: users are served another release"
    if case.breach and (why := _missed(seen)):
        yield f"missed breach: {why} s of the faults' end"
    for part in case.parts:
        if part not in seen.metrics:
            yield f"{part}: no metric shows it"
        if part not in seen.alerts:
            yield f"{part}: {FAULTS[part].alert or 'scraping again'} was not seen"
    if seen.ends:
        yield f"the daemon ended with {', '.join(map(str, seen.ends))}"
    if seen.audit:
        yield f"audit log: {seen.audit}"


def _missed(seen: Seen) -> str:
    if seen.opened_seconds is None or seen.opened_seconds > _OPENS_SECONDS:
        return f"no incident within {_OPENS_SECONDS:g}"
    return "" if seen.acted_seconds is not None else f"not acted on within {_ACTS_SECONDS:g}"


async def play(case: Case, haproxy: str, prometheus: str) -> Seen:
    """Play one case on a host of its own."""
    began, seen = time.monotonic(), Seen()
    try:
        async with chaos_site(haproxy, prometheus, clock="clock" in case.parts) as site:
            await _play(case, site, seen)
    except (AssertionError, OSError) as error:
        seen.broken = f"{type(error).__name__}: {error}"
    seen.seconds = round(time.monotonic() - began, 1)
    return seen


async def _play(case: Case, site: ChaosSite, seen: Seen) -> None:
    kills = site.kills
    early = case.breach and "target" in case.parts  # what is stopped can't be given another release
    if early:
        await kills.deployer.promote(kills.drifted)
    began = {part: time.monotonic() for part in case.parts}
    for part in case.parts:
        await FAULTS[part].begin(site)
    if case.breach and not early:
        await kills.deployer.promote(kills.drifted)
    await _mend_what_was_seen(site, began, seen)
    over = time.monotonic()
    if case.breach:
        seen.opened_seconds = await _seconds_until(site, _OPENED, over, _OPENS_SECONDS)
        seen.acted_seconds = await _seconds_until(site, _ACTED_ON, over, _ACTS_SECONDS)
    else:
        known = _sweeps(await site.scrape())
        while _sweeps(await site.scrape()) < known + _SWEEPS_AFTER and time.monotonic() < over + _OPENS_SECONDS:
            await asyncio.sleep(_LOOK_SECONDS)
    with closing(kills.store()) as store:
        seen.states = [e.state.value for i in store.incidents() for e in i.events]
        seen.audit = verify(store.audit_chain()).why
    seen.served = kills.desired() == kills.good.id
    seen.ends = list(kills.units["daemon"].odd_ends)


async def _seconds_until(site: ChaosSite, line: str, since: float, most: float) -> float | None:
    while time.monotonic() < since + most:
        if re.search(line, await site.scrape(), re.MULTILINE):
            return round(time.monotonic() - since, 1)
        await asyncio.sleep(_LOOK_SECONDS)
    return None


async def _mend_what_was_seen(site: ChaosSite, began: dict[str, float], seen: Seen) -> None:
    """Watch until each fault shows; end it then, and whatever is left in the end."""
    ends = time.monotonic() + _FAULTS_SECONDS
    while began and time.monotonic() < ends:
        page, firing = await site.scrape(), await site.firing()
        for part, since in list(began.items()):
            fault = FAULTS[part]
            if re.search(fault.metric, page, re.MULTILINE):
                seen.metrics.add(part)
            if fault.alert in firing:
                seen.alerts.add(part)
            shown = part in seen.metrics and (part in seen.alerts or not fault.alert)
            if shown and time.monotonic() >= since + _TOGETHER_SECONDS:
                await _mend(site, part, seen)
                del began[part]
        await asyncio.sleep(_LOOK_SECONDS)
    for part in began:
        await _mend(site, part, seen)


async def _mend(site: ChaosSite, part: str, seen: Seen) -> None:
    await FAULTS[part].end(site)
    if not FAULTS[part].alert:
        at = time.time()
        await site.until(lambda: site.series(f"timestamp(alignd_build_info) > {at:.3f}"), "a scrape")
        seen.alerts.add(part)


def _sweeps(page: str) -> float:
    found = re.search(r'^alignd_sweeps_total\{target="prod"\} (\S+)', page, re.MULTILINE)
    return float(found[1]) if found else 0.0


def tell(case: Case, seen: Seen) -> None:
    """Print a line of the table."""
    wrong = faults_of(case, seen)
    opened, acted = ("-" if s is None else f"{s:g} s" for s in (seen.opened_seconds, seen.acted_seconds))
    states = "→".join(seen.states) or "no incident"
    told = f"opened {opened:<7} acted on {acted:<7} {states}"
    print(f"{'BAD' if wrong else 'ok':<4}{case.name:<28}{seen.seconds:>6g} s  {told}", flush=True)
    for why in wrong:
        print(f"    {why}", flush=True)


def main(argv: Sequence[str] | None = None) -> None:
    """Play the cases and print what came of them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", action="append", help="name of a case; may be repeated")
    given = parser.parse_args(argv)
    programs = [shutil.which(name) for name in ("haproxy", "prometheus")]
    if None in programs:
        sys.exit("HAProxy and Prometheus have to be installed: apt-get install haproxy prometheus")
    haproxy, prometheus = (p or "" for p in programs)
    if not FAKETIME.exists():
        print("clock: left out, for Debian's package faketime is not installed")
    found = [case for case in cases(clock=FAKETIME.exists()) if not given.only or case.name in given.only]
    played = []
    for case in found:
        seen = asyncio.run(play(case, haproxy, prometheus))
        tell(case, seen)
        played.append((case, seen))
    rows = [
        {**asdict(seen), "case": case.name, "metrics": sorted(seen.metrics), "alerts": sorted(seen.alerts),
         "bad": faults_of(case, seen)} for case, seen in played
    ]  # fmt: skip
    bad = sum(bool(row["bad"]) for row in rows)
    print(json.dumps({"chaos_cases": len(rows), "chaos_bad": bad, "chaos": rows}))


if __name__ == "__main__":
    main()
