"""The journal of a change of weights: written and flushed before each step, so that another process can finish it."""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from enum import StrEnum
from pathlib import Path

from deploy.durable import write_whole
from deploy.errors import StageError

__all__ = ["Journal", "Outcome", "Step", "Swap", "Weights", "alone", "desired_release", "write_desired"]

_FILE = "journal.json"
_DESIRED = "desired.json"


class Step(StrEnum):
    """What is about to be done."""

    PLANNED = "planned"
    HOLD = "hold"
    DRAIN = "drain"
    LOAD = "load"
    CLEAR = "clear"
    NAME = "name"
    RESUME = "resume"
    PROVE = "prove"
    DESIRE = "desire"
    RELEASE = "release"
    BACK = "back"
    RESTART = "restart"
    ENDED = "ended"


class Outcome(StrEnum):
    """How it ended."""

    OPEN = ""
    DONE = "done"
    """The new weights are served and proved."""
    UNCHANGED = "unchanged"
    """Nothing was changed; users are let in."""
    ROLLED_BACK = "rolled_back"
    """The old weights were loaded again and proved."""
    RESTARTED = "restarted"
    """The server was restarted and serves the old weights, proved."""
    FAILED = "failed"
    """Nothing could be proved: users get 503 until a person restarts the server."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Weights:
    """A release and its folder."""

    release: str
    path: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Swap:
    """One change of weights, with all that a process needs to make it.

    Attributes:
        url: The server, without ``/v1``.
        model: Served model name.
        fence: Fence that was claimed for it.
        store: Release store, whose canaries are compared.
        dtype: What the server computes in.
        server: Its version.
        drain_seconds: For requests in flight.
        step_seconds: For one step of loading.
        hold_seconds: How long users wait before they get 503.
        restart: Command that restarts the server; empty where a person does.
        restart_seconds: How long a restart may take.
    """

    old: Weights
    new: Weights
    url: str
    model: str
    token_file: str
    api_key_file: str
    fence: int
    store: str
    dtype: str
    server: str
    drain_seconds: float
    step_seconds: float
    hold_seconds: float
    restart: tuple[str, ...]
    restart_seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Journal:
    """What is known of the newest change.

    Attributes:
        swap: The change.
        step: What was about to be done when this was written.
        why: What went wrong, if something did.
        guard: Process that makes the change.
        times: Unix time of each step.
    """

    swap: Swap
    step: Step = Step.PLANNED
    outcome: Outcome = Outcome.OPEN
    why: str = ""
    guard: int = 0
    times: Mapping[str, float] = field(default_factory=dict)

    @property
    def held_seconds(self) -> float:
        """How long users waited at the door, as far as is known."""
        begun, ended = self.times.get(Step.HOLD), self.times.get(Step.ENDED)
        return ended - begun if begun and ended else 0.0

    def at(self, step: Step, *, why: str = "", outcome: Outcome = Outcome.OPEN) -> Journal:
        """Return the journal at a step."""
        times = {**self.times, step.value: time.time()}
        return replace(self, step=step, why=why or self.why, outcome=outcome, guard=os.getpid(), times=times)

    def write(self, state: Path) -> None:
        """Write it, whole or not at all, and flush it.

        Raises:
            StageError: The disk is full or the folder can't be written.
        """
        _write(state / _FILE, asdict(self))

    @classmethod
    def read(cls, state: Path) -> Journal | None:
        """Read the newest one; ``None`` where there never was one.

        Raises:
            StageError: It is damaged.
        """
        file = state / _FILE
        try:
            said = json.loads(file.read_text())
            swap = said.pop("swap")
            old, new, restart = Weights(**swap.pop("old")), Weights(**swap.pop("new")), tuple(swap.pop("restart"))
            step, outcome = Step(said.pop("step")), Outcome(said.pop("outcome"))
            return cls(swap=Swap(**swap, old=old, new=new, restart=restart), step=step, outcome=outcome, **said)
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise StageError(f"{file} is damaged; restart the server, then delete the file") from error


def desired_release(state: Path) -> str:
    """Return the release that the server is to serve when it starts; ``""`` where none was written.

    Raises:
        StageError: The file is damaged.
    """
    file = state / _DESIRED
    try:
        return str(json.loads(file.read_text())["active"])
    except FileNotFoundError:
        return ""
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StageError(f"{file} is damaged; delete it and give --first RELEASE") from error


def write_desired(state: Path, release: str) -> None:
    """Write down what the server is to serve when it starts.

    Raises:
        StageError: The disk is full or the folder can't be written.
    """
    _write(state / _DESIRED, {"active": release})


@contextmanager
def alone(state: Path) -> Iterator[bool]:
    """Hold the folder's lock, which ends with the process; ``False`` where another process holds it."""
    with (state / "guard.lock").open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        yield True


def _write(file: Path, said: Mapping[str, object]) -> None:
    try:
        write_whole(file, json.dumps(said))
    except OSError as error:
        raise StageError(f"{file}: can't be written ({error.strerror or error}); free space, then ask again") from error
