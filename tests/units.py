"""Processes that are started again whenever they end, as systemd does with ``Restart=always``."""

from __future__ import annotations

import asyncio
import os
import random
import signal
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

__all__ = ["Unit", "children", "marked", "words_of"]


@dataclass
class Unit:
    """One of them.

    Attributes:
        pause: Draws the seconds between an end and the next start.
        starts: How often it was started.
        odd_ends: Exit codes that nobody brought about.
    """

    command: Sequence[str]
    log: Path
    env: Mapping[str, str]
    cwd: Path
    pause: random.Random
    process: asyncio.subprocess.Process | None = None
    starts: int = 0
    odd_ends: list[int] = field(default_factory=list)
    _killed: set[int] = field(default_factory=set)
    _watch: asyncio.Task[None] | None = None

    @property
    def pid(self) -> int:
        """Its process, 0 where there is none now."""
        return self.process.pid if self.process and self.process.returncode is None else 0

    async def start(self) -> None:
        """Start it, and go on doing so."""
        await self._start()
        self._watch = asyncio.create_task(self._keep())

    def kill(self) -> bool:
        """Kill it; ``False`` where there is nothing to kill."""
        if not (pid := self.pid):
            return False
        self._killed.add(pid)
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        return True

    async def end(self, sig: signal.Signals = signal.SIGTERM, *, seconds: float = 60.0) -> bool:
        """End it for good; whether it ended by itself in time."""
        if self._watch:
            self._watch.cancel()
        if not (self.process and self.pid):
            return True
        self.process.send_signal(sig)
        try:
            await asyncio.wait_for(self.process.wait(), seconds)
        except TimeoutError:
            self.process.kill()
            await self.process.wait()
            return False
        return True

    async def _start(self) -> None:
        with self.log.open("ab") as out:
            self.process = await asyncio.create_subprocess_exec(
                *self.command, cwd=self.cwd, env=dict(self.env), stdin=asyncio.subprocess.DEVNULL, stdout=out,
                stderr=out,
            )  # fmt: skip
        self.starts += 1

    async def _keep(self) -> None:
        while self.process:
            code = await self.process.wait()
            if self.process.pid not in self._killed:
                self.odd_ends.append(code)
            await asyncio.sleep(self.pause.uniform(0.05, 1.0))
            await self._start()


def children(pid: int) -> tuple[int, ...]:
    """A process's own children."""
    found: list[int] = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        with suppress(OSError):
            found += map(int, task.read_text().split())
    return tuple(found)


def words_of(pid: int) -> tuple[str, ...]:
    """The words of its command; none if it is gone or dead."""
    try:
        return tuple(Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").split("\0")[:-1])
    except OSError:
        return ()


def marked(mark: str) -> dict[int, str]:
    """Processes whose environment holds this, with their commands; children inherit it, whoever their parent is now."""
    found = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                environment = (entry / "environ").read_bytes()
            except OSError:
                continue
            if mark.encode() in environment.split(b"\0") and (words := words_of(int(entry.name))):
                found[int(entry.name)] = " ".join(words)
    return found
