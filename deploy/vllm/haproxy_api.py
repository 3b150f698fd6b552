"""HAProxy's run-time API: one question on its socket, what the answers say, and which commands bring about a change.

Format of the answers: HAProxy's management guide, "show servers state" and "show stat".
"""

from __future__ import annotations

import asyncio
import csv
import io
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from deploy.errors import DeployerUnavailable

__all__ = ["Slot", "ask", "choose", "parse_sessions", "parse_slots"]

_ANSWER_BYTES_MAX = 1 << 20
_ASK_SECONDS = 2.0
_LOOPBACK = "127.0.0.1"
_RUNNING = {"1", "2"}
"""``srv_op_state`` of a server that gets requests: starting (slow start) and running."""
_OUT_OF_SERVICE = 0x01 | 0x02 | 0x08 | 0x10 | 0x20
"""``srv_admin_state``: maintenance (forced, inherited, unresolved) and drain (forced, inherited)."""
_MAINTENANCE = 0x01 | 0x02 | 0x20


@dataclass(frozen=True, slots=True, kw_only=True)
class Slot:
    """A named server of HAProxy's backend and where it leads now."""

    name: str
    address: str
    port: int
    running: bool
    admin_state: int
    weight: int

    @property
    def takes_traffic(self) -> bool:
        """Whether new requests go to it."""
        return self.running and self.weight > 0 and not self.admin_state & _OUT_OF_SERVICE

    @property
    def in_maintenance(self) -> bool:
        """Whether it was taken out altogether."""
        return bool(self.admin_state & _MAINTENANCE)


async def ask(socket: Path, command: str, *, seconds: float = _ASK_SECONDS) -> str:
    """Send one line to HAProxy's socket and return its answer, within so many seconds.

    Raises:
        DeployerUnavailable: There is no whole answer in time.
    """
    where = f"HAProxy's socket {socket}"
    try:
        async with asyncio.timeout(seconds):
            reader, writer = await asyncio.open_unix_connection(str(socket))
            try:
                writer.write(f"{command}\n".encode())
                await writer.drain()
                answer = await reader.read(_ANSWER_BYTES_MAX)
                while part := await reader.read(_ANSWER_BYTES_MAX):
                    answer += part
                    if len(answer) > _ANSWER_BYTES_MAX:
                        raise DeployerUnavailable(f"{where} sends more than 1 MiB; mend the socket that was given")
            finally:
                writer.close()
                with suppress(OSError):
                    await writer.wait_closed()
    except TimeoutError:
        raise DeployerUnavailable(
            f"{where} gave no whole answer in {seconds:g} s; look at HAProxy's load and log"
        ) from None
    except OSError as error:
        raise DeployerUnavailable(
            f"{where} can't be reached ({error.strerror or error}); start HAProxy, or mend the path that was given and "
            "the socket's mode in haproxy.cfg"
        ) from error
    return answer.decode(errors="replace").strip()


def parse_slots(text: str, *, where: str) -> tuple[Slot, ...]:
    """Read ``show servers state``, by the names of its columns.

    Raises:
        DeployerUnavailable: It is something else, or there are fewer than two servers.
    """
    lines = text.splitlines()
    if len(lines) < 2 or not lines[1].startswith("# "):
        raise DeployerUnavailable(f"{where}: {_quoted(text)} instead of the state of its servers; mend haproxy.cfg")
    names = lines[1].removeprefix("# ").split()
    try:
        slots = tuple(_slot(dict(zip(names, line.split(), strict=True))) for line in lines[2:] if line.strip())
    except (KeyError, ValueError) as error:
        raise DeployerUnavailable(f"{where}: the state of its servers can't be read: {_quoted(text)}") from error
    if len(slots) < 2:
        raise DeployerUnavailable(f"{where}: it has {len(slots)} server lines, and two are needed; mend haproxy.cfg")
    return slots


def _slot(row: Mapping[str, str]) -> Slot:
    return Slot(
        name=row["srv_name"], address=row["srv_addr"], port=int(row["srv_port"]),
        running=row["srv_op_state"] in _RUNNING, admin_state=int(row["srv_admin_state"]),
        weight=int(row["srv_uweight"]),
    )  # fmt: skip


def parse_sessions(text: str, *, where: str) -> dict[str, int]:
    """Read the requests in flight of each server from ``show stat``.

    Raises:
        DeployerUnavailable: It is something else.
    """
    try:
        rows = csv.DictReader(io.StringIO(text.removeprefix("# ")))
        sessions = {row["svname"]: int(row["scur"]) for row in rows}
    except (KeyError, TypeError, ValueError, csv.Error) as error:
        raise DeployerUnavailable(f"{where}: {_quoted(text)} instead of its sessions") from error
    if not sessions:
        raise DeployerUnavailable(f"{where}: {_quoted(text)} instead of its sessions; mend haproxy.cfg")
    return sessions


def choose(slots: Sequence[Slot], *, backend: str, port: int | None, sessions: Mapping[str, int]) -> tuple[str, ...]:
    """Return the commands that bring HAProxy one step nearer to what it should do; none where it does it already.

    The new server comes into service first; only when it takes requests do the others leave, so that there is no moment
    without one. A server that has left drains: it ends what it has.

    Args:
        slots: What it does now.
        backend: Its backend.
        port: Loopback port that all new requests should reach, ``None`` for none.
        sessions: Requests in flight by server name, for the choice of one that is to get a new address.
    """
    others = [s for s in slots if s.port != port or s.address != _LOOPBACK]
    there = [s for s in slots if s not in others]
    if port is None:
        return tuple(f"set server {backend}/{s.name} state maint" for s in others if not s.in_maintenance)
    if not there:
        # A server in service keeps its address; of the rest, the one that is out of use. Requests in flight keep their
        # connection to the old address, for HAProxy opens one for each request (option http-server-close).
        slot = min(others, key=lambda s: (s.takes_traffic, not s.in_maintenance, sessions.get(s.name, 0), s.name))
        return (
            f"set server {backend}/{slot.name} state maint",
            f"set server {backend}/{slot.name} addr {_LOOPBACK} port {port}",
            *_ready(slot, backend),
        )
    if not any(s.takes_traffic for s in there):
        return _ready(there[0], backend)
    keep = next(s for s in there if s.takes_traffic)
    return tuple(f"set server {backend}/{s.name} state drain" for s in slots if s is not keep and s.takes_traffic)


def _ready(slot: Slot, backend: str) -> tuple[str, ...]:
    weight = () if slot.weight else (f"set server {backend}/{slot.name} weight 100%",)
    return (*weight, f"set server {backend}/{slot.name} state ready")


def _quoted(text: str) -> str:
    return repr(text[:120])
