"""Feeds mutated inputs to worker processes; one that hangs or dies is ended, counted and named."""

from __future__ import annotations

import multiprocessing
import os
import random
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.connection import Connection
from pathlib import Path

from tests.mutations import judges, records, replies, suites

__all__ = ["KINDS", "check", "count", "jobs_of"]

Check = Callable[[random.Random, Path], str]

KINDS: dict[str, tuple[Check, int]] = {
    "suites": (suites.check, 3),
    "replies": (replies.check, 3),
    "judges": (judges.check, 3),
    "records": (records.check, 1),
}
"""What checks one input of each kind, and how many of ten inputs are of it."""

_HANGS_SECONDS = 60.0
"""An input that takes longer hangs: many times what the longest takes, on a machine that others use too."""
_SLOW_SECONDS = 10.0
"""Processor time, which no other program on the machine adds to."""


def count(n: int, seed: int, *, workers: int | None = None, hangs_seconds: float = _HANGS_SECONDS) -> tuple[int, int]:
    """Feed n mutated inputs of all kinds.

    Args:
        seed: The same inputs for the same seed.
        workers: Processes at a time; by default as many as there are cores.
        hangs_seconds: An input that takes longer is bad, and its process is killed.

    Returns:
        How many inputs were fed, and how many of them were bad; each of these is named on standard error.
    """
    jobs = jobs_of(n, seed)
    share = max(1, workers or os.cpu_count() or 1)
    with ThreadPoolExecutor(share) as pool:
        found = [bad for part in pool.map(lambda i: _feed(jobs[i::share], hangs_seconds), range(share)) for bad in part]
    return n, len(found)


def jobs_of(n: int, seed: int) -> list[str]:
    """Name n inputs, ``kind/seed/number``, spread over the kinds."""
    tens = [kind for kind, (_, parts) in KINDS.items() for _ in range(parts)]
    return [f"{tens[i % len(tens)]}/{seed}/{i}" for i in range(n)]


def check(job: str, folder: Path) -> str:
    """Feed one input; return what is wrong with what became of it."""
    began = time.process_time()
    try:
        said = KINDS[job.partition("/")[0]][0](random.Random(job), folder)
    except Exception as error:  # noqa: BLE001 any of them is what is looked for
        return "".join(traceback.format_exception(error))
    took = time.process_time() - began
    return said or (f"took {took:.1f} s" if took > _SLOW_SECONDS else "")


def _feed(jobs: Sequence[str], hangs_seconds: float) -> list[str]:
    bad, worker = [], _Worker()
    try:
        for job in jobs:
            said = worker.check(job, hangs_seconds)
            if said:
                bad.append(job)
                print(f"bad input {job}: {said[-2000:]}", file=sys.stderr, flush=True)
    finally:
        worker.end()
    return bad


class _Worker:
    """A process that checks one input after the other; a new one takes the place of one that had to be killed."""

    def __init__(self) -> None:
        self._begin()

    def check(self, job: str, hangs_seconds: float) -> str:
        try:
            self._ours.send(job)
            said = self._ours.recv() if self._ours.poll(hangs_seconds) else None
        except (EOFError, OSError):
            self._process.join(5)
            said, hangs_seconds = None, 0.0
        if said is not None:
            return str(said)
        how = f"hung for {hangs_seconds:g} s" if hangs_seconds else f"ended its process ({self._process.exitcode})"
        self.end()
        self._begin()
        return how

    def end(self) -> None:
        self._process.kill()
        self._process.join()
        self._ours.close()

    def _begin(self) -> None:
        spawn = multiprocessing.get_context("spawn")
        self._ours, theirs = spawn.Pipe()
        self._process = spawn.Process(target=_work, args=(theirs,), daemon=True)
        self._process.start()
        theirs.close()


def _work(asked: Connection) -> None:
    with tempfile.TemporaryDirectory(prefix="mutations-") as folder:
        while True:
            try:
                job = asked.recv()
            except EOFError:
                return
            asked.send(check(job, Path(folder)))
