"""A few of the benchmark's kills, on real processes with the fake model server: whatever dies, it ends well."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from dataclasses import replace

from tests.benchmarks.rollout_kills_checks import leftovers
from tests.benchmarks.rollout_kills_plan import INCIDENT, Kill, Plan
from tests.benchmarks.rollout_kills_run import Ending, run
from tests.kills_site import kill_site

PLAN = Plan(
    seed="test", kind=INCIDENT, containment="roll_back", recipes=("kills-mend",), early=True, kills=(), real=False
)


def killing(*kills: tuple[str, int | None, float], kind: str = INCIDENT) -> Plan:
    named = tuple(Kill(target=target, event=event, seconds=seconds) for target, event, seconds in kills)
    return replace(PLAN, kind=kind, kills=named)


async def ended(program: str, plan: Plan) -> Ending:
    ending = await run(plan, program)
    assert not ending.bad
    assert len(ending.killed) == len(plan.kills)
    assert ending.answers > 20
    return ending


async def test_whatever_is_killed_it_ends_well(program: Callable[[str], str]) -> None:
    found = program("haproxy")
    await asyncio.gather(
        ended(found, killing(("daemon", 5, 0.0), ("haproxy", None, 0.5))),
        ended(found, killing(("active server", 7, 0.0), ("supervisor", None, 0.0))),
    )


async def test_what_must_not_be_is_seen(program: Callable[[str], str]) -> None:
    async with kill_site(program("haproxy"), random.Random(1)) as (site, traffic):
        await traffic.more(3)
        good = site.good.id
        assert await leftovers(site, active=good, allowed=()) == []
        await site.deployer.stage(site.drifted)
        (site.releases / ".x.0.partial").mkdir()
        (site.spare.path / "config.json").write_text("{}")
        stray = await asyncio.create_subprocess_exec("sleep", "100", env=site.environment())
        said = "\n".join(await leftovers(site, active=good, allowed=(), seconds=0.0))
        stray.kill()
        await stray.wait()
        for fault in ("may be", "half-written", site.spare.id, f"process {stray.pid} has no owner"):
            assert fault in said
        said = "\n".join(await leftovers(site, active=site.spare.id, allowed=(), seconds=0.0))
        assert f"{good} is active instead of {site.spare.id}" in said
