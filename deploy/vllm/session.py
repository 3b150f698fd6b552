"""The processes of one server, which is the leader of a session of its own, as /proc tells of them."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

__all__ = ["DRAINED_SECONDS", "Process", "kill", "members", "processes", "without_trackers"]

DRAINED_SECONDS = 40.0
"""How long a server that was told to end may let requests end; longer than vLLM's --shutdown-timeout."""

_PROC = Path("/proc")
_TRACKER = b"multiprocessing.resource_tracker"


@dataclass(frozen=True, slots=True, kw_only=True)
class Process:
    """A process that runs.

    Attributes:
        session: Process id of its session's leader.
        started: In clock ticks since the boot: tells it from a later process of this id.
    """

    pid: int
    session: int
    started: int


def processes() -> Iterator[Process]:
    """Yield what runs, dead processes that nobody has waited for left out; nothing where there is no /proc."""
    for entry in _PROC.iterdir() if _PROC.is_dir() else ():
        if entry.name.isdigit():
            try:
                words = (entry / "stat").read_text(errors="replace").rsplit(")", 1)[1].split()
            except (OSError, IndexError):
                continue
            if words[0] != "Z":
                yield Process(pid=int(entry.name), session=int(words[3]), started=int(words[19]))


def members(leader: int) -> list[int]:
    """Return what runs in a session. Its dead are none of it: in a container without an init nobody waits for them."""
    return [p.pid for p in processes() if p.session == leader]


def without_trackers(pids: Iterable[int]) -> list[int]:
    """Leave out who frees the others' shared memory: Python's trackers end by themselves once the others have.

    A tracker that is killed with them leaves their memory taken, hundreds of megabytes for each server, until the next
    boot.
    """
    return [pid for pid in pids if not _is_tracker(pid)]


def kill(pids: Iterable[int]) -> None:
    """Kill processes; one that is gone is none to kill."""
    for pid in pids:
        with suppress(ProcessLookupError, PermissionError):
            os.kill(pid, signal.SIGKILL)


def _is_tracker(pid: int) -> bool:
    try:
        return _TRACKER in (_PROC / str(pid) / "cmdline").read_bytes()
    except OSError:
        return False
