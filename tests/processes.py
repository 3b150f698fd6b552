"""What /proc says of processes that tests start."""

from __future__ import annotations

from pathlib import Path

__all__ = ["children_of", "cmdline", "in_session", "shared_memory_of"]


def children_of(parent: int) -> list[int]:
    """The process's own children, dead ones left out."""
    return [pid for pid, stat in _all() if int(stat[1]) == parent and stat[0] != "Z"]


def in_session(session: int) -> list[int]:
    """All processes of a session, whoever their parent is now, dead ones left out."""
    return [pid for pid, stat in _all() if int(stat[3]) == session and stat[0] != "Z"]


def cmdline(pid: int) -> str:
    """Its command; empty if it is gone."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
    except OSError:
        return ""


def shared_memory_of(pid: int) -> set[Path]:
    """Files of shared memory that a process has mapped."""
    try:
        lines = Path(f"/proc/{pid}/maps").read_text().splitlines()
    except OSError:
        return set()
    return {Path(line.split()[5]) for line in lines if " /dev/shm/" in line and not line.endswith("(deleted)")}


def _all() -> list[tuple[int, list[str]]]:
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                stat = (entry / "stat").read_text()
            except OSError:
                continue
            found.append((int(entry.name), stat.rsplit(")", 1)[1].split()))
    return found
