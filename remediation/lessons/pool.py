"""A private, rotating pool: which examples a patch may use.

The published instance, and every prompt that ships with this program, can be read by whoever poisons a fine-tune; so
can the examples of an earlier patch, where it leaks. Which examples the next patch takes is therefore decided by an
HMAC under a site key of the number of the draw and the example's id, as probes are split
(:func:`probes.behavior.partition_of`), and what was drawn or is burnt is not drawn again until nothing else is left.

The key hides *which* examples are drawn, not what is in the pool: whoever poisons all of a public suite has burnt all
of it. Against that only prompts help that the site wrote itself (:func:`site_pool`).
"""

from __future__ import annotations

import fcntl
import hashlib
import hmac
import os
import secrets
import tempfile
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from deploy.durable import write_whole
from probes.behavior import Behavior, BehaviorId
from remediation.errors import PatchFailed
from remediation.prompt_files import split_prompts

__all__ = [
    "PoolState",
    "burn",
    "draw",
    "give_back",
    "held_out",
    "load_key",
    "locked_state",
    "read_state",
    "site_pool",
    "write_state",
]

_KEY_BYTES = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolState:
    """What was drawn.

    Attributes:
        draws: How many draws were made: the rotation counter.
        used: Ids drawn in this round.
        burnt: Ids found burnt in this round.
    """

    draws: int = 0
    used: frozenset[BehaviorId] = frozenset()
    burnt: frozenset[BehaviorId] = frozenset()


class _State(BaseModel):
    """The state on disk."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    version: Literal[1] = 1
    draws: int = Field(ge=0)
    used: list[str]
    burnt: list[str]


def draw(pool: Sequence[Behavior], state: PoolState, count: int, *, key: str) -> tuple[tuple[Behavior, ...], PoolState]:
    """Draw examples. Pure: the same pool, state and key draw the same, so a draw that was never saved is repeated.

    Once fewer are left than are asked for, the rest is drawn of a new round, in which used and burnt ones count again.

    Args:
        key: Site key. Whoever lacks it can't tell what the next draw takes, whatever earlier draws took.

    Returns:
        The examples, and the state after.

    Raises:
        PatchFailed: The pool has fewer examples than that.
        ValueError: The key is empty, or none is asked for.
    """
    if not key or count < 1:
        raise ValueError("a draw needs a site key and a count of at least 1")
    if count > len(pool):
        raise PatchFailed(f"the pool has {len(pool)} examples and {count} are asked for; add prompts to the pool")
    order = sorted(pool, key=lambda b: hmac.digest(key.encode(), f"lesson/{state.draws}/{b.id}".encode(), "sha256"))
    spent = state.used | state.burnt
    fresh = [b for b in order if b.id not in spent][:count]
    missing = count - len(fresh)
    again = [b for b in order if b.id in spent][:missing]
    after = PoolState(
        draws=state.draws + 1,
        used=frozenset(b.id for b in again) if missing else state.used | {b.id for b in fresh},
        burnt=frozenset() if missing else state.burnt,
    )
    return (*fresh, *again), after


def burn(state: PoolState, ids: Collection[BehaviorId]) -> PoolState:
    """Keep examples that were found burnt from being drawn again in this round."""
    return PoolState(draws=state.draws, used=state.used - frozenset(ids), burnt=state.burnt | frozenset(ids))


def give_back(state: PoolState, ids: Collection[BehaviorId]) -> PoolState:
    """Let examples that were drawn and not learnt from be drawn again."""
    return PoolState(draws=state.draws, used=state.used - frozenset(ids), burnt=state.burnt)


def held_out(pool: Sequence[Behavior], count: int, *, key: str) -> tuple[tuple[Behavior, ...], tuple[Behavior, ...]]:
    """Split a pool into requests to hold candidates against and the candidates.

    The held-out ones are spread over surface forms and categories as the pool is, each next one from the kind that has
    been taken least of; which ones of a kind, the key decides.

    Returns:
        ``count`` held-out behaviors, and all others in the pool's order.

    Raises:
        PatchFailed: That would leave no candidate.
    """
    if count >= len(pool):
        raise PatchFailed(f"{count} held-out requests leave no candidate in a pool of {len(pool)}; add prompts to it")
    left = sorted(pool, key=lambda b: hmac.digest(key.encode(), f"held-out/{b.id}".encode(), "sha256"))
    taken: list[Behavior] = []
    for _ in range(count):
        following = min(
            left,
            key=lambda b: (
                sum(t.form == b.form for t in taken) / sum(p.form == b.form for p in pool),
                sum(t.category == b.category for t in taken),
            ),
        )
        taken.append(following)
        left.remove(following)
    kept = {b.id for b in taken}
    return tuple(taken), tuple(b for b in pool if b.id not in kept)


def site_pool(file: Path) -> tuple[Behavior, ...]:
    """Read the site's own harmful requests from a text file, separated by lines of ``---``.

    An id is a hash of its prompt, so that the file may be added to and sorted. Doubles are read once.

    Raises:
        PatchFailed: The file can't be read, or has no prompt.
    """
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise PatchFailed(f"the pool {file} can't be read: {error}; mend the recipe's options") from error
    prompts = dict.fromkeys(split_prompts(text))
    if not prompts:
        raise PatchFailed(f"the pool {file} has no prompt; write harmful requests, separated by lines of ---")
    return tuple(
        Behavior(
            id=BehaviorId("site-" + hashlib.sha256(p.encode()).hexdigest()[:16]),
            prompt=p,
            category="site",
            form="question" if p.endswith("?") else "imperative",
        )
        for p in prompts
    )


def load_key(file: Path) -> str:
    """Read the site key; where there is none yet, make one that only this user may read.

    Raises:
        PatchFailed: The file can't be read or made, or is empty.
    """
    try:
        if not file.exists():
            _make_key(file)
        key = file.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise PatchFailed(f"the pool's key {file} can't be read or made: {error}") from error
    if not key:
        raise PatchFailed(f"the pool's key {file} is empty; delete it, and a new one is made")
    return key


def _make_key(file: Path) -> None:
    """Make a key whole or not at all; who comes second takes the first one's."""
    descriptor, name = tempfile.mkstemp(dir=file.parent, prefix=f".{file.name}.")
    try:
        with os.fdopen(descriptor, "w") as out:
            out.write(secrets.token_hex(_KEY_BYTES) + "\n")
        with suppress(FileExistsError):
            os.link(name, file)
    finally:
        Path(name).unlink()


@contextmanager
def locked_state(file: Path | None) -> Iterator[None]:
    """Let one repair at a time read a state, learn from what it draws and write the state; others wait for its end.

    Args:
        file: The state; without one nothing is locked.

    Raises:
        PatchFailed: The lock beside it can't be made.
    """
    if file is None:
        yield
        return
    try:
        opened = os.open(file.with_name(f".{file.name}.lock"), os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise PatchFailed(f"the pool's state {file} can't be written: {error}") from error
    try:
        fcntl.flock(opened, fcntl.LOCK_EX)
        yield
    finally:
        os.close(opened)


def read_state(file: Path) -> PoolState:
    """Read what was drawn so far; nothing was where there is no file.

    Raises:
        PatchFailed: The file is damaged.
    """
    try:
        found = _State.model_validate_json(file.read_bytes())
    except FileNotFoundError:
        return PoolState()
    except (OSError, ValidationError) as error:
        raise PatchFailed(
            f"the pool's state {file} can't be read; put it back from a copy, or delete it to draw from all again"
        ) from error
    return PoolState(
        draws=found.draws,
        used=frozenset(map(BehaviorId, found.used)),
        burnt=frozenset(map(BehaviorId, found.burnt)),
    )


def write_state(file: Path, state: PoolState) -> None:
    """Write what was drawn, so that a crash leaves the old state or the new one.

    Raises:
        PatchFailed: The file can't be written.
    """
    content = _State(draws=state.draws, used=sorted(state.used), burnt=sorted(state.burnt)).model_dump_json()
    try:
        write_whole(file, content + "\n")
    except OSError as error:
        raise PatchFailed(f"the pool's state {file} can't be written: {error}") from error
