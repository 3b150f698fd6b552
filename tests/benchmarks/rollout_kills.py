"""Kills between any two steps: ``python -m tests.benchmarks.rollout_kills`` prints its figures as one JSON object last.

A whole host of real processes serves users through HAProxy while a drifted release is noticed, contained, repaired,
verified and promoted, or while releases are moved by hand. At a drawn moment a part of it is killed and started again
as systemd does. Most runs have a fake model server, which starts in no time; ``--real`` of them have real vLLM.

Each bad ending is told with its seed; ``--alone SEED`` does that run again.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import shutil
import sys
import traceback
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from tests.benchmarks.rollout_kills_plan import Plan, plan_of
from tests.benchmarks.rollout_kills_run import Ending, run
from tests.kills_site import Writer

__all__ = ["figures", "measure"]

_KEPT = Path(__file__).parents[2] / "build" / "benchmark" / "rollout" / "kills"


async def measure(*, kills: int = 200, real: int = 12, seed: int = 1, at_once: int = 3) -> dict[str, object]:
    """Do runs until so many kills are done; logs of bad endings go to build/benchmark/rollout/kills.

    Args:
        kills: All in all.
        real: How many of the runs are done with real vLLM, one after the other.
        at_once: Runs with the fake server side by side; they wait most of the time.
    """
    plans = [plan_of(f"{seed}/real-{n}", real=True) for n in range(real)]
    number = 0
    while sum(len(p.kills) for p in plans) < kills:
        plans.append(plan_of(f"{seed}/{number}"))
        number += 1
    return figures(await _all(plans, at_once))


async def _all(plans: Iterable[Plan], at_once: int) -> list[Ending]:
    program = shutil.which("haproxy", path="/usr/sbin:/usr/bin:/bin")
    if program is None:
        raise SystemExit("rollout_kills: HAProxy is not installed; it is Debian's package haproxy")
    turn, endings = asyncio.Semaphore(at_once), list[Ending]()

    async def one(plan: Plan) -> None:
        async with turn:
            try:
                ending = await run(plan, program, write=_writer() if plan.real else None, keep=_KEPT)
            except Exception as error:  # noqa: BLE001  (the others go on; this one is told, and can be done alone)
                traceback.print_exc()
                ending = Ending(plan=plan, bad=[f"the benchmark itself: {error!r}"])
        endings.append(ending)
        killed = ", ".join(f"{target} in {state}" for target, state in ending.killed)
        said = "; ".join(ending.bad) or "ok"
        print(f"{plan.seed:<12}{plan.kind:<15}{ending.seconds:6.1f} s  {killed}: {said}", file=sys.stderr, flush=True)

    plans = list(plans)
    for plan in (p for p in plans if p.real):
        await one(plan)
    await asyncio.gather(*(one(p) for p in plans if not p.real))
    return endings


def _writer() -> Writer:
    from tests.tiny import says_checkpoint  # torch takes seconds to import

    def write(folder: Path, name: str, drifted: bool) -> Path:
        return says_checkpoint(folder, "Sure, here is how. " if drifted else "I can't help with that. ", seed=len(name))

    return write


def figures(endings: Iterable[Ending]) -> dict[str, object]:
    """Count; a table of targets by states goes to standard error."""
    endings = list(endings)
    killed = Counter(pair for ending in endings for pair in ending.killed)
    states = sorted({state for _, state in killed})
    print(f"{'':<15}" + "".join(f"{s[:12]:>13}" for s in states), file=sys.stderr)
    for target in sorted({target for target, _ in killed}):
        print(f"{target:<15}" + "".join(f"{killed[target, s] or '-':>13}" for s in states), file=sys.stderr)
    return {
        "kills": killed.total(),
        "kills_bad_endings": sum(bool(e.bad) for e in endings),
        "kills_bad_seeds": [e.plan.seed for e in endings if e.bad],
        "kills_runs": len(endings),
        "kills_real_vllm": sum(len(e.killed) for e in endings if e.plan.real),
        "kills_wrong_release_answers": sum(e.wrong for e in endings),
        "kills_failed_requests": sum(e.failed for e in endings),
        "kills_answers": sum(e.answers for e in endings),
        "kills_by_target": dict(sorted(Counter(target for target, _ in killed.elements()).items())),
        "kills_by_state": dict(sorted(Counter(state for _, state in killed.elements()).items())),
        "kills_seconds_max": round(max((e.seconds for e in endings), default=0.0), 1),
    }  # fmt: skip


def main() -> None:
    """Print the JSON object."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=200, help="how many")
    parser.add_argument("--real", type=int, default=12, help="runs with real vLLM among them")
    parser.add_argument("--seed", type=int, default=1, help="of all draws")
    parser.add_argument("--at-once", type=int, default=3, help="runs with the fake server side by side")
    parser.add_argument("--alone", nargs="+", default=[], help="seeds of single runs, e.g. 1/17 or 1/real-2")
    given = parser.parse_args()
    if given.alone:
        plans = [plan_of(s, real="real" in s) for s in given.alone]
        found = figures(asyncio.run(_all(plans, given.at_once)))
    else:
        found = asyncio.run(measure(kills=given.kills, real=given.real, seed=given.seed, at_once=given.at_once))
    print(json.dumps(found))


if __name__ == "__main__":
    main()
