"""What HAProxy's answers mean, and which commands follow from them."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deploy.errors import DeployerUnavailable
from deploy.vllm.haproxy_api import Slot, ask, choose, parse_sessions, parse_slots
from tests.raw_http import leave

HEAD = (
    "# be_id be_name srv_id srv_name srv_addr srv_op_state srv_admin_state srv_uweight srv_iweight "
    "srv_time_since_last_change srv_check_status srv_check_result srv_check_health srv_check_state srv_agent_state "
    "bk_f_forced_id srv_f_forced_id srv_fqdn srv_port srvrecord srv_use_ssl srv_check_port srv_check_addr "
    "srv_agent_addr srv_agent_port"
)
STATE = f"""1
{HEAD}
3 alignd 1 blue 127.0.0.1 2 4 1 1 0 1 0 0 8 0 0 0 - 8111 - 0 0 - - 0
3 alignd 2 green 127.0.0.1 0 5 1 1 1 1 0 0 8 0 0 0 - 9 - 0 0 - - 0"""
"""As HAProxy 2.6 prints it: blue was put into service, green is as the file says (disabled)."""


def test_servers_are_read_by_the_names_of_columns() -> None:
    blue, green = parse_slots(STATE, where="h")
    assert blue == Slot(name="blue", address="127.0.0.1", port=8111, running=True, admin_state=4, weight=1)
    assert (blue.takes_traffic, green.takes_traffic, green.in_maintenance) == (True, False, True)
    assert not replace(blue, weight=0).takes_traffic
    assert not replace(blue, admin_state=4 | 8).takes_traffic
    assert not replace(blue, running=False).takes_traffic


@pytest.mark.parametrize(
    "text", ["", "Can't find backend.", "Permission denied", f"1\n{HEAD}", "\n".join(STATE.splitlines()[:3]),
             f"1\n{HEAD}\n3 alignd 1 blue", STATE.replace("8111", "x"), STATE.replace("srv_port", "other")]
)  # fmt: skip
def test_what_is_no_state_of_servers_is_refused_by_name(text: str) -> None:
    with pytest.raises(DeployerUnavailable, match="HAProxy at s"):
        parse_slots(text, where="HAProxy at s")


def test_sessions_are_read_by_server() -> None:
    assert parse_sessions("# pxname,svname,qcur,scur,\nalignd,blue,0,3,\nalignd,green,0,0,", where="h") == {
        "blue": 3, "green": 0,
    }  # fmt: skip
    for text in ("", "No such proxy.", "# pxname,svname,scur\nalignd,blue,x", "# pxname,svname\nalignd,blue"):
        with pytest.raises(DeployerUnavailable, match="sessions"):
            parse_sessions(text, where="h")


def applied(slots: Sequence[Slot], commands: Sequence[str]) -> tuple[Slot, ...]:
    """What HAProxy does with these commands."""
    by_name = {s.name: s for s in slots}
    for command in commands:
        _, _, server, verb, *rest = command.split()
        name = server.removeprefix("be/")
        slot = by_name[name]
        by_name[name] = {
            "addr": lambda slot=slot, rest=rest: replace(slot, address=rest[0], port=int(rest[-1])),
            "weight": lambda slot=slot: replace(slot, weight=1),
            "state": lambda slot=slot, rest=rest: replace(
                slot, running=rest[0] == "ready", admin_state={"ready": 0, "drain": 8, "maint": 1}[rest[0]]
            ),
        }[verb]()
    return tuple(by_name.values())


SLOTS = st.lists(
    st.builds(
        Slot, name=st.just(""), address=st.sampled_from(["127.0.0.1", "10.0.0.1"]), port=st.integers(1, 4),
        running=st.booleans(), admin_state=st.sampled_from([0, 1, 4, 5, 8, 9, 16, 32]), weight=st.integers(0, 1),
    ),
    min_size=2, max_size=4,
).map(lambda found: tuple(replace(s, name=f"s{i}") for i, s in enumerate(found)))  # fmt: skip


BUSY = st.dictionaries(st.sampled_from(["s0", "s1"]), st.integers(0, 2))


@given(slots=SLOTS, port=st.integers(1, 4) | st.none(), sessions=BUSY)
def test_from_any_state_few_steps_lead_to_one_server_in_service(
    slots: tuple[Slot, ...], port: int | None, sessions: Mapping[str, int]
) -> None:
    before = [s for s in slots if s.takes_traffic]
    for _ in range(4):
        commands = choose(slots, backend="be", port=port, sessions=sessions)
        if not commands:
            break
        slots = applied(slots, commands)
        taking = [s for s in slots if s.takes_traffic]
        assert port is None or not before or taking, "there is no moment without a server"
    assert not commands
    assert [(s.address, s.port) for s in slots if s.takes_traffic] == ([("127.0.0.1", port)] if port else [])


def slot(name: str, port: int, state: int = 0) -> Slot:
    return Slot(name=name, address="127.0.0.1", port=port, running=state == 0, admin_state=state, weight=1)


def test_a_new_address_goes_where_nobody_is_missed() -> None:
    slots = (slot("blue", 1), slot("green", 2, 8), slot("amber", 3, 8))
    (first, *_) = choose(slots, backend="be", port=4, sessions={"green": 2, "amber": 1})
    assert "be/amber" in first, "fewest requests in flight"
    (first, *_) = choose((*slots, slot("pink", 9, 1)), backend="be", port=4, sessions={"green": 0, "amber": 0})
    assert "be/pink" in first, "in maintenance: out of use"
    assert choose(slots, backend="be", port=2, sessions={}) == ("set server be/green state ready",), "it kept its place"


async def test_a_socket_that_is_not_there_says_the_way_out(tmp_path: Path) -> None:
    with pytest.raises(DeployerUnavailable, match=r"can't be reached.*mend the path that was given"):
        await ask(tmp_path / "s", "show info")


async def test_an_endless_answer_is_cut(tmp_path: Path) -> None:
    async def endless(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                writer.write(b"x" * 65536)
                await writer.drain()
        except ConnectionError:
            await leave(writer)

    async with await asyncio.start_unix_server(endless, tmp_path / "s"):
        with pytest.raises(DeployerUnavailable, match="1 MiB"):
            await ask(tmp_path / "s", "show info")
