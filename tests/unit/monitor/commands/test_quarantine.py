"""``alignd quarantine lift``: what is said, and the exit code."""

from __future__ import annotations

import asyncio

from monitor import cli
from monitor.incident import IncidentId, open_incident
from tests.fake_site import World
from tests.unit.monitor.command_line import Alignd
from tests.unit.monitor.commands.test_deploy import alignd, world

__all__ = ["alignd", "world"]

WORDS = ("quarantine", "lift", "prod", "--why", "a false alarm")


def test_a_lift_is_noted_in_the_name_of_who_asks(alignd: Alignd, world: World) -> None:
    code, out, err = alignd(*WORDS)
    assert (code, out) == (cli.USAGE, "")
    assert err == "alignd: target prod is not quarantined; there is nothing to lift\n"
    service = world.service()
    opened = open_incident(
        incident=IncidentId("i1"), target="prod", release=world.drifted.id, recipes=(), now=world.clock(), note="n"
    )
    service.store.create(opened)
    asyncio.run(world.deployer.quarantine("out of service: incident i1"))
    code, out, err = alignd(*WORDS)
    assert (code, err) == (0, "")
    assert out.splitlines() == [
        f"prod: lift noted; the daemon gives users {world.good.id}",
        "incident i1 goes on; `alignd roll-back i1` gives them the last known good release instead",
    ]
    lift = service.store.lifts()["prod"]
    assert (lift.incident, lift.why, bool(lift.by)) == ("i1", "a false alarm", True)
    assert world.active == "", "the daemon does it"
    asyncio.run(service.aclose())


def test_a_serving_side_that_is_away_has_its_own_exit_code(alignd: Alignd, world: World) -> None:
    world.deployer.down = True
    assert alignd(*WORDS)[0] == cli.UNAVAILABLE
