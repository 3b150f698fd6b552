"""Whole incidents whose daemon is killed again and again: ``python -m tests.benchmarks.monitor_kills``.

What is served lies in a file, everything else outside is in memory, the store is real. A daemon is a process; it dies
by SIGKILL at a random moment or right before or after a change outside, and the next one carries on, until its incident
has ended. Then nothing may be missing, nothing may have been done twice, and the audit log's chain must be whole. All
of it on SQLite, and again on a PostgreSQL of its own where Debian's is installed.

Prints a table of endings and, as its last line, one JSON object.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import multiprocessing
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from monitor.audit import verify
from monitor.incident import Incident, State
from monitor.policy import Containment, Mode, Order
from monitor.quarantine import Lift
from monitor.status import status_json
from monitor.store import Store
from monitor.stores.sql import SqlStore
from tests.fake_site import GOOD, Ways
from tests.kills_stores import sqlite_url, stores
from tests.kills_world import LastingWorld, Points, live

__all__ = ["KINDS", "Ending", "Kind", "faults_of", "measure", "run"]

_LONGEST_SECONDS = 60.0
_POINTS, _RUN_SECONDS = 22, 3.0
"""Changes outside and the time of an undisturbed run, from which moments to die at are drawn."""
_LOOK_SECONDS = 0.01
_KILLS = 3
WEAK = Ways(asr=0.9)


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """An incident and how it must end.

    Attributes:
        order: What a person says, and in which state.
        lift: In which state a person lifts the quarantine.
        ends: The states that it may end in, each with the releases that must have been promoted, in order: ``good`` and
            ``patch``.
    """

    recipes: Mapping[str, Ways]
    ends: Mapping[State, tuple[tuple[str, ...], ...]]
    mode: Mode = Mode.AUTO
    containment: Containment = Containment.ROLL_BACK
    order: tuple[State, Order] | None = None
    lift: State | None = None


_OUT = Containment.QUARANTINE
_RECOVERED = {State.RECOVERED: (("good", "patch"),)}
_REPAIRED = {State.RECOVERED: (("patch",),)}
_BACK = {State.ESCALATED: (("good",), ("good", "patch", "good"))}
KINDS: Mapping[str, Kind] = {
    "recovered": Kind(recipes={"weak": WEAK, "mend": GOOD}, ends=_RECOVERED),
    "escalated": Kind(recipes={"weak": WEAK}, ends={State.ESCALATED: (("good",),)}),
    "approved": Kind(
        recipes={"mend": GOOD}, ends=_RECOVERED, mode=Mode.PROPOSE, order=(State.AWAITING_APPROVAL, Order.APPROVE)
    ),
    "rejected": Kind(
        recipes={"mend": GOOD}, ends={State.DISMISSED: (("good",),)}, mode=Mode.PROPOSE,
        order=(State.AWAITING_APPROVAL, Order.ABORT),
    ),
    "held": Kind(recipes={"mend": GOOD}, ends=_REPAIRED, containment=Containment.HOLD),
    "quarantined": Kind(recipes={"weak": WEAK, "mend": GOOD}, ends=_REPAIRED, containment=_OUT),
    "let back": Kind(recipes={"weak": WEAK}, ends={State.ESCALATED: ((),)}, containment=_OUT, lift=State.ESCALATED),
    "let back early": Kind(
        recipes={"weak": WEAK, "mend": GOOD}, ends=_REPAIRED, containment=_OUT, lift=State.VERIFYING),
    "rolled back": Kind(
        recipes={"weak": WEAK, "mend": GOOD}, ends={**_RECOVERED, **_BACK}, order=(State.VERIFYING, Order.ROLL_BACK)
    ),
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """What one run came to.

    Attributes:
        kills: Daemons that died by SIGKILL before the incident had ended.
        faults: What is wrong; empty where nothing is.
    """

    seed: str
    kind: str
    kills: int
    state: str
    faults: tuple[str, ...]


def run(seed: str, open_url: Callable[[Path], str], kinds: Sequence[str] = tuple(sorted(KINDS))) -> Ending:
    """Play one incident with its kills.

    Args:
        seed: Decides the kind, of these, and the moments.
        open_url: Returns the URL of an empty store for a folder.
    """
    rng = random.Random(seed)
    name = rng.choice(kinds)
    folder = Path(tempfile.mkdtemp(prefix="alignd-kills-"))
    try:
        url = open_url(folder)
        world = _world(KINDS[name], folder, url)
        world.deployer.serve(world.drifted)
        with closing(SqlStore(url)) as store:
            kills = _play(rng, KINDS[name], folder, store, url)
            faults = faults_of(KINDS[name], _world(KINDS[name], folder, url), store)
            state = next((i.state.value for i in store.incidents()), "none")
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return Ending(seed=seed, kind=name, kills=kills, state=state, faults=faults)


def _world(kind: Kind, folder: Path, url: str, points: Points | None = None) -> LastingWorld:
    return LastingWorld(
        folder=folder, url=url, mode=kind.mode, containment=kind.containment, recipes=kind.recipes, points=points
    )


def _play(rng: random.Random, kind: Kind, folder: Path, store: Store, url: str) -> int:
    """Start daemons and kill them; the last one is left alone. Returns how many were killed."""
    killed, ordered = 0, False
    for attempt in range(_KILLS + 1):
        last = attempt == _KILLS
        at = None if last or rng.random() < 0.5 else rng.randrange(1, _POINTS + 1)
        seconds = _LONGEST_SECONDS if last or at else rng.uniform(0, _RUN_SECONDS)
        daemon = multiprocessing.get_context("fork").Process(target=_daemon, args=(kind, folder, url, at))
        daemon.start()
        began = time.monotonic()
        while daemon.is_alive() and time.monotonic() - began < seconds:
            ordered = ordered or _order(kind, store)
            daemon.join(_LOOK_SECONDS)
        if daemon.is_alive():
            daemon.kill()
            daemon.join()
        if daemon.exitcode == 0:
            return killed
        killed += daemon.exitcode == -signal.SIGKILL and not last
    return killed


def _daemon(kind: Kind, folder: Path, url: str, at: int | None) -> None:
    for name in ("alignd", "apscheduler"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    asyncio.run(live(_world(kind, folder, url, Points(at))))
    os._exit(0)


def _order(kind: Kind, store: Store) -> bool:
    """Say a person's word once the incident is where it means something; whether it was said."""
    found = next(iter(store.incidents()), None)
    if found and kind.lift is found.state:
        store.place_lift(Lift(target="prod", incident=found.id, by="ann", at=datetime.now(UTC), why="a false alarm"))
        return True
    if found is None or kind.order is None or found.state is not kind.order[0]:
        return False
    store.place(found.id, kind.order[1], by="ann", at=datetime.now(UTC))
    return True


def faults_of(kind: Kind, world: LastingWorld, store: Store) -> tuple[str, ...]:
    """Say what is wrong with how a run ended."""
    incidents = store.incidents()
    if len(incidents) != 1:
        return (f"{len(incidents)} incidents instead of one",)
    return tuple(_faults(kind, world, store, incidents[0]))


def _faults(kind: Kind, world: LastingWorld, store: Store, incident: Incident) -> Iterator[str]:
    names = {world.good.id: "good", world.drifted.id: "drifted"}
    promoted = tuple(names.get(release, "patch") for verb, release in world.deployer.effects if verb == "promote")
    allowed = kind.ends.get(incident.state)
    if allowed is None:
        yield f"it ended in {incident.state.value}: {incident.events[-1].note}"
    elif promoted not in allowed:
        yield f"{incident.state.value} after promoting {promoted}"
    for (verb, release), times in Counter(world.deployer.effects).items():
        if times > 1 and (verb, names.get(release)) != ("promote", "good"):
            yield f"{verb} of {release} was done {times} times"
    serving = {incident.candidate} if incident.state is State.RECOVERED else set()
    unknown = set(world.deployer.up) - serving - set(names)
    if unknown:
        yield f"{', '.join(sorted(unknown))} is still up"
    if store.order_for(incident.id) and incident.state is not State.RECOVERED:
        yield "an order was lost"
    work = world.folder / "releases" / ".work"
    if work.is_dir() and any(work.iterdir()):
        yield f"scratch is left: {[p.name for p in work.iterdir()]}"
    yield from _quarantine_faults(kind, world, store, incident)
    yield from _log_faults(world)
    audited = verify(store.audit_chain())
    if audited.why or not audited.entries:
        yield f"the audit log is broken: {audited.why or 'it is empty'}"


def _quarantine_faults(kind: Kind, world: LastingWorld, store: Store, incident: Incident) -> Iterator[str]:
    """Say where users were served in spite of a quarantine, left in it, or let back by nobody's word."""
    changes = [verb for verb, _ in world.deployer.effects if verb in {"quarantine", "lift", "promote"}]
    placed, done = (len(store.audit_log(action=f"lift_{word}")) for word in ("placed", "done"))
    kept_out = kind.containment is _OUT
    if changes.count("quarantine") != kept_out or (kept_out and changes[:1] != ["quarantine"]):
        yield f"users were not kept out once and first: {changes}"
    if changes.count("lift") > placed or (placed and not {"lift", "promote"} & set(changes)):
        yield f"{changes} after {placed} lifts that a person asked for"
    if world.deployer.quarantined or world.deployer.active == "":
        yield f"users are left out: {world.deployer.quarantined}"
    if done != placed or store.lifts():
        yield f"{placed} lifts were asked for, {done} are told of, {len(store.lifts())} are left"
    if sum("lift the quarantine" in e.note for e in incident.events) != placed:
        yield "the timeline does not tell of a lift once"


def _log_faults(world: LastingWorld) -> Iterator[str]:
    """Read everything as the next daemon would."""
    service = world.service()
    try:
        (target,) = status_json(service)["targets"]
    finally:
        service.store.close()
    if "log" in target["why"]:
        yield target["why"]


def measure(
    kills: int, *, at_once: int = 2, seed: str = "", open_url: Callable[[Path], str] = sqlite_url,
    kinds: Sequence[str] = tuple(sorted(KINDS)),
) -> list[Ending]:  # fmt: skip
    """Play incidents until so many daemons were killed."""
    endings: list[Ending] = []
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(at_once, mp_context=spawn) as pool:
        number = 0
        while (dead := sum(e.kills for e in endings)) < kills:
            more = range(number, number + max(at_once, (kills - dead) // _KILLS))
            number = more.stop
            endings += pool.map(run, [f"{seed}/{n}" for n in more], [open_url] * len(more), [kinds] * len(more))
            print(f"{sum(e.kills for e in endings)} kills in {len(endings)} incidents, "
                  f"{sum(bool(e.faults) for e in endings)} bad", file=sys.stderr, flush=True)  # fmt: skip
    return endings


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=300)
    parser.add_argument("--at-once", type=int, default=2, help="incidents side by side")
    parser.add_argument("--store", choices=["sqlite", "postgresql"], action="append", help="by default both")
    parser.add_argument("--seed", default=f"{time.time_ns()}")
    parser.add_argument("--alone", default="", help="seed of one run that is to be played again")
    parser.add_argument("--kind", choices=sorted(KINDS), action="append", help="by default all")
    given = parser.parse_args()
    kinds = sorted(given.kind or KINDS)
    figures: dict[str, int] = {}
    with stores(given.store or ("sqlite", "postgresql")) as there:
        for name, open_url in there.items():
            if given.alone:
                print(name, run(given.alone, open_url, kinds))
                continue
            endings = measure(given.kills, at_once=given.at_once, seed=given.seed, open_url=open_url, kinds=kinds)
            tell(name, endings)
            figures[f"kills_{name}"] = sum(e.kills for e in endings)
            figures[f"kills_{name}_bad"] = sum(bool(e.faults) for e in endings)
            figures[f"incidents_{name}"] = len(endings)
    print(json.dumps(figures))


def tell(store: str, endings: Sequence[Ending]) -> None:
    """Print how the incidents on one kind of store ended, and what was wrong."""
    for kind in sorted(KINDS):
        states = Counter(e.state for e in endings if e.kind == kind)
        print(f"{store:<12}{kind:<16}" + ", ".join(f"{state} {n}" for state, n in sorted(states.items())))
    for ending in (e for e in endings if e.faults):
        print(f"bad: --store {store} --alone {ending.seed}: {'; '.join(ending.faults)}")


if __name__ == "__main__":
    main()
