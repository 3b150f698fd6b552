"""What is left of servers whose supervisor was killed: vLLM's engine is a process of its own and outlives both.

Each server is the leader of a session of its own. Which ones were started is written down, so that the next supervisor
can end what is left of them: it holds memory and answers nobody.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

from deploy.durable import write_whole
from deploy.vllm.session import DRAINED_SECONDS, kill, processes, without_trackers

__all__ = ["ServerSession", "end_left_over", "left_over", "remember"]

log = logging.getLogger("alignd.supervisor")

_FILE = "sessions.json"
_FREE_SECONDS = 10.0
"""How long what frees shared memory may take longer than the rest."""
_LOOK_SECONDS = 0.5
_BOOT = Path("/proc/sys/kernel/random/boot_id")


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerSession:
    """The session of one server.

    Attributes:
        leader: Process id of the server, which is the session's id.
        started: When it was, in clock ticks since the boot: tells it from a later process of this id.
        supervisor: Process that started it.
        supervisor_started: The same of that one.
        boot: The boot's id.
    """

    leader: int
    started: int
    supervisor: int
    supervisor_started: int
    boot: str


def remember(folder: Path, leader: int) -> None:
    """Write down that this server was started here; where that fails, the server is worth more than the note."""
    started = {p.pid: p.started for p in processes()}
    if leader not in started:
        return
    still = [s for s in _noted(folder) if _members(s)]
    new = ServerSession(
        leader=leader, started=started[leader], supervisor=os.getpid(), supervisor_started=started[os.getpid()],
        boot=_boot(),
    )  # fmt: skip
    try:
        write_whole(folder / _FILE, json.dumps([asdict(s) for s in (*still, new)]))
    except OSError as error:
        log.warning("session_not_noted %s: %s; free disk", leader, error)


def left_over(folder: Path) -> tuple[ServerSession, ...]:
    """Return the servers that were started here and whose supervisor is gone."""
    started = {p.pid: p.started for p in processes()}
    return tuple(s for s in _noted(folder) if started.get(s.supervisor) != s.supervisor_started)


def _noted(folder: Path) -> tuple[ServerSession, ...]:
    """Return what was noted since the boot; a file that can't be read names nothing."""
    try:
        noted = [ServerSession(**s) for s in json.loads((folder / _FILE).read_text(encoding="utf-8"))]
    except (OSError, ValueError, TypeError):
        return ()
    return tuple(s for s in noted if s.boot == _boot())


async def end_left_over(sessions: Iterable[ServerSession]) -> None:
    """End what is left of servers of a supervisor that is gone.

    The kernel told each server to end when its supervisor did. One that still lets requests end has its time; where it
    is gone, or the time over, all of its session is killed, and last what frees shared memory.
    """
    end = time.monotonic() + DRAINED_SECONDS
    while sessions := [s for s in sessions if _members(s)]:
        for session in sessions:
            found = _members(session)
            if session.leader in found and time.monotonic() < end:
                continue
            rest = without_trackers(found)
            if not rest and time.monotonic() < end + _FREE_SECONDS:
                continue
            log.warning("left_over_ended processes %s of server %s", rest or found, session.leader)
            kill(rest or found)
        await asyncio.sleep(_LOOK_SECONDS)


def _members(session: ServerSession) -> list[int]:
    """Return the session's processes; none where its id has gone to another process since."""
    found = [p for p in processes() if p.session == session.leader]
    if any(p.pid == session.leader and p.started != session.started for p in found):
        return []
    return [p.pid for p in found]


def _boot() -> str:
    try:
        return _BOOT.read_text(encoding="utf-8").strip()
    except OSError:
        return ""
