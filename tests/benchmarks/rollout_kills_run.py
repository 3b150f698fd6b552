"""One run: a host, a change of what it serves, kills in the middle, and how it ended."""

from __future__ import annotations

import asyncio
import json
import os
import random
import shutil
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from monitor.incident import TERMINAL, Incident, State
from tests.benchmarks.rollout_kills_checks import Term, leftovers, terms_of, wrong_answers
from tests.benchmarks.rollout_kills_plan import INCIDENT, Kill, Plan
from tests.kills_site import KillSite, Writer, kill_site
from tests.processes import in_session
from tests.traffic import Traffic
from tests.units import marked

__all__ = ["Ending", "run"]

_BOUND_SECONDS, _REAL_BOUND_SECONDS = 180.0, 900.0
"""From the last kill to the end. A step that failed is tried again after 10 and 20 seconds, each of nine states may."""
_LOOK_SECONDS = 0.005
_SLACK_SECONDS = 0.5
"""A command's line that it promotes is seen so much later at most."""


@dataclass
class Ending:
    """How a run ended.

    Attributes:
        killed: Target and state of the incident (or the kind of the run) of each kill.
        bad: What is not as it must be; nothing where all is well.
    """

    plan: Plan
    killed: list[tuple[str, str]] = field(default_factory=list)
    bad: list[str] = field(default_factory=list)
    wrong: int = 0
    failed: int = 0
    answers: int = 0
    seconds: float = 0.0


async def run(plan: Plan, program: str, *, write: Writer | None = None, keep: Path | None = None) -> Ending:
    """Do one.

    Args:
        program: HAProxy.
        write: Writes checkpoints for real vLLM.
        keep: Where to put the logs of a bad ending.
    """
    ending, began = Ending(plan=plan), time.monotonic()
    rng = random.Random(f"{plan.seed}/site")
    async with kill_site(
        program, rng, write=write, containment=plan.containment, recipes=plan.recipes
    ) as (site, traffic):
        try:
            await (_incident if plan.kind == INCIDENT else _move)(site, traffic, ending)
        except (AssertionError, TimeoutError) as error:
            ending.bad.append(f"{type(error).__name__} {error}")
        ending.answers, ending.failed = len(traffic.answers), traffic.failed()
        for name, unit in site.units.items():
            if unit.odd_ends:
                ending.bad.append(f"{name} ended by itself with {unit.odd_ends}")
        for name in ("daemon", "supervisor", "haproxy"):
            if not await site.units[name].end(seconds=60.0 if write is None else 120.0):
                ending.bad.append(f"{name} did not end when it was asked to")
        rest = marked(site.mark) | {pid: "a server's process" for s in site.sessions for pid in in_session(s)}
        ending.bad += [f"still there after the end: {command[:150]}" for command in rest.values()]
        for pid in rest:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        if ending.bad and keep:
            _keep(site, ending, keep / plan.seed.replace("/", "-"))
    ending.seconds = time.monotonic() - began
    return ending


class _Trail:
    """What the daemon's log, or a command's, says."""

    def __init__(self, site: KillSite, log: str) -> None:
        self._site, self._log, self._at = site, log, 0
        self.events = -1
        self.state = "before"

    def look(self) -> None:
        lines, self._at = self._site.log_lines(self._log, self._at)
        for line in lines:
            if line.get("action") in {"incident_opened", "transition"}:
                self.events += 1
                self.state = str(line.get("state", State.DETECTED.value))

    @property
    def over(self) -> bool:
        return self.state in TERMINAL


async def _incident(site: KillSite, traffic: Traffic, ending: Ending) -> None:
    plan, trail = ending.plan, _Trail(site, "daemon")
    if plan.early:
        await site.deployer.promote(site.drifted)
    await site.units["daemon"].start()
    if not plan.early:
        await _until(lambda: b'"sweep"' in (site.folder / "daemon").read_bytes(), "a sweep", site.seconds)
        await site.deployer.promote(site.drifted)
    await _until(lambda: trail.look() or trail.events >= 0, "an incident", site.seconds)
    began = time.monotonic()
    for kill in plan.kills:
        if kill.event is not None:
            await _until(lambda n=kill.event: trail.look() or trail.events >= n or trail.over, "an event", site.seconds)
            began = time.monotonic()
        while time.monotonic() < began + kill.seconds:
            trail.look()
            await asyncio.sleep(_LOOK_SECONDS)
        await _kill(site, kill, trail, ending)
        began = time.monotonic()
    bound = _REAL_BOUND_SECONDS if plan.real else _BOUND_SECONDS
    incidents = await _ended(site, bound)
    ending.bad += [f"incident {i.id} ended {i.state}: {i.events[-1].note}" for i in incidents
                   if i.state is not State.RECOVERED]  # fmt: skip
    last = incidents[0]
    if len(incidents) > 1:
        ending.bad.append(f"{len(incidents)} incidents of one drift")
    active = last.candidate if last.state is State.RECOVERED else last.last_good
    if active:
        await _serves(site, active, site.seconds)
    wrong = wrong_answers(
        list(traffic.answers), terms_of(last, good=site.good.id, hold=plan.containment == "hold")
    )  # fmt: skip
    ending.wrong = len(wrong)
    ending.bad += [*wrong[:2], *await leftovers(site, active=active, allowed={site.good.id})]


async def _ended(site: KillSite, seconds: float) -> tuple[Incident, ...]:
    store, end = site.store(), time.monotonic() + seconds
    try:
        while not (found := store.incidents(target="prod")) or not all(i.closed for i in found):
            assert time.monotonic() < end, f"not over in {seconds:g} s: {[(i.state, i.events[-1].note) for i in found]}"
            await asyncio.sleep(0.3)
        return found
    finally:
        store.close()


async def _kill(site: KillSite, kill: Kill, trail: _Trail, ending: Ending) -> None:
    """Kill a process of the kind, when there is one; where the incident is over before, the daemon."""
    target, end = kill.target, time.monotonic() + site.seconds
    while not _killed(site, target):
        trail.look()
        if trail.over and target == "worker":
            target = "daemon"
        assert time.monotonic() < end, f"there is no {target} to kill"
        await asyncio.sleep(_LOOK_SECONDS)
    ending.killed.append((target, trail.state))


def _killed(site: KillSite, target: str) -> bool:
    if target in site.units:
        return site.units[target].kill()
    pids = site.workers() if target == "worker" else site.servers(active=target == "active server")
    for pid in pids[:1]:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
            return True
    return False


async def _move(site: KillSite, traffic: Traffic, ending: Ending) -> None:
    kind, seen = ending.plan.kind, [float("inf")]
    store = site.store()
    store.mark("prod", site.spare.id, good=True, at=site.spare.manifest.created_at)
    store.close()
    await site.units["daemon"].start()
    await _until(lambda: b'"sweep"' in (site.folder / "daemon").read_bytes(), "a sweep", site.seconds)
    if kind == "roll-back":
        await site.deployer.promote(site.spare)
    tuned = site.write(site.folder / "tuned", "tuned", kind == "deploy-drifted")
    words = {"promote": ("releases", "promote", site.spare.id), "roll-back": ("releases", "roll-back")}.get(
        kind, ("deploy", str(tuned), "--name", "tuned")
    )  # fmt: skip
    before = site.desired()
    process = await site.command(*words, log="command")
    began, kills = time.monotonic(), list(ending.plan.kills)
    while process.returncode is None or kills:
        said = (site.folder / "command").read_text()
        if "promote tuned@" in said:
            seen[0] = min(seen[0], time.time() - _SLACK_SECONDS)
        if kills and (kills[0].event is None or said.count("\n") > kills[0].event or process.returncode is not None):
            due = kills[0].seconds if process.returncode is None else 0.0
            if time.monotonic() > began + due and _killed_here(site, kills[0].target, process):
                ending.killed.append((kills.pop(0).target, kind))
                began = time.monotonic()
        else:
            began = time.monotonic()
        await asyncio.sleep(_LOOK_SECONDS)
        assert time.monotonic() < began + 2 * site.seconds, f"{words} does not end"
    await _settled(site, ending, words, before=before, seen=seen)
    terms = {site.good.id: Term(), site.spare.id: Term()}
    tuned_id = next((p.name for p in site.releases.glob("tuned@*")), "tuned")
    if kind == "deploy":
        terms[tuned_id] = Term(since=seen[0])
    wrong = wrong_answers(list(traffic.answers), terms)
    ending.wrong = len(wrong)
    active = {"promote": site.spare.id, "deploy": tuned_id}.get(kind, site.good.id)
    ending.bad += [*wrong[:2], *await leftovers(site, active=active, allowed={site.good.id, site.spare.id})]


def _killed_here(site: KillSite, target: str, process: asyncio.subprocess.Process) -> bool:
    """Kill; where the command has ended, or no other server is up, the daemon."""
    if target == "command" and process.returncode is None:
        process.kill()
        return True
    return _killed(site, target) or _killed(site, "daemon")


async def _settled(site: KillSite, ending: Ending, words: tuple[str, ...], *, before: str, seen: list[float]) -> None:
    """See that it comes to rest by itself; then the pipeline does its step again, and that goes well."""
    kind = ending.plan.kind
    await _serves(site, site.desired(), site.seconds)
    if kind == "roll-back" and site.desired() != before:
        return
    process = await site.command(*words, log="again")
    while process.returncode is None:
        if "promote tuned@" in (site.folder / "again").read_text():
            seen[0] = min(seen[0], time.time() - _SLACK_SECONDS)
        await asyncio.sleep(_LOOK_SECONDS)
    wanted = 3 if kind == "deploy-drifted" else 0
    if process.returncode != wanted:
        said = (site.folder / "again").read_text()[-300:]
        ending.bad.append(f"the second {kind} ended with {process.returncode}, not {wanted}: {said}")


async def _serves(site: KillSite, active: str, seconds: float) -> None:
    """Wait until a release serves."""
    end, seen = time.monotonic() + seconds, "nobody"
    while seen != active:
        assert time.monotonic() < end, f"{active} does not serve in {seconds:g} s, but {seen}"
        state = await site.state()
        seen = state.active if state else "nobody"
        await asyncio.sleep(0.1)


async def _until(said: Callable[[], object], what: str, seconds: float) -> None:
    end = time.monotonic() + seconds
    while not said():
        assert time.monotonic() < end, f"not within {seconds:g} s: {what}"
        await asyncio.sleep(_LOOK_SECONDS)


def _keep(site: KillSite, ending: Ending, folder: Path) -> None:
    """Keep what tells how it came to that."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for name in ("daemon", "supervisor", "haproxy", "command", "again", "alignd.db", "state/desired.json"):
        if (site.folder / name).exists():
            shutil.copyfile(site.folder / name, folder / name.replace("/", "-"))
    (folder / "ending.json").write_text(json.dumps(ending.__dict__, indent=1, default=str))
    store = site.store()
    (folder / "incidents.json").write_text(json.dumps([i.to_json() for i in store.incidents()], indent=1))
    store.close()
