"""Notices a server that has the traffic and hangs: its process is there, and nobody gets a token of it.

A server under heavy load is slow and makes tokens; it is left alone, however long a single request waits.
"""

from __future__ import annotations

import asyncio
import logging
import time
from dataclasses import dataclass
from typing import NamedTuple

from deploy.errors import CheckpointError, DeployError, DeployerUnavailable, StageError
from deploy.vllm.child import Child, read_metrics, require_answer
from deploy.vllm.counts import Counts
from deploy.vllm.keeping_up import always
from deploy.vllm.servers import Servers

__all__ = ["LOOKS", "Look", "Silence", "keep_answering", "tokens_made"]

log = logging.getLogger("alignd.supervisor")

LOOKS = 3
"""Looks in a row that must find nothing, over the whole time."""
_COUNTERS = ("vllm:generation_tokens_total", "vllm:prompt_tokens_total")
_IDLE_SECONDS = 1.0


class Look(NamedTuple):
    """What was seen: whether a token came in time, and the server's counters of tokens after that, where it had to."""

    answered: bool
    made: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Silence:
    """Looks in a row that found nothing.

    Attributes:
        made: Counters of tokens at the last one; ``None`` before the first, from which on the silence counts.
        looks: Looks since then without a token for anybody.
    """

    made: str | None = None
    looks: int = 0

    def after(self, look: Look) -> Silence:
        """Return what it is after another look."""
        if look.answered:
            return Silence()
        if self.made is None or (look.made and look.made != self.made):
            return Silence(made=look.made)
        return Silence(made=look.made or self.made, looks=self.looks + 1)

    @property
    def hung(self) -> bool:
        """Whether it has lasted long enough."""
        return self.looks >= LOOKS


def tokens_made(page: str) -> str:
    """Return the lines of vLLM's metrics that count tokens; empty where there are none."""
    return "\n".join(line for line in page.splitlines() if line.startswith(_COUNTERS))


async def keep_answering(servers: Servers, *, hang_seconds: float, renewed: Counts) -> None:
    """Renew the server that has the traffic when it gave nobody a token for so many seconds; 0: never."""
    seconds = hang_seconds / LOOKS
    watched, silence = None, Silence()
    while hang_seconds:
        began, child = time.monotonic(), servers.wanted()
        if child is not watched:
            watched, silence = child, Silence()
        if child:
            silence = silence.after(await _look(child, servers.name, seconds))
            if silence.hung:
                await _replace(servers, child, seconds, renewed)
                silence = Silence()
        await asyncio.sleep(max(seconds - (time.monotonic() - began), 0.0) if child else min(seconds, _IDLE_SECONDS))


async def _look(child: Child, name: str, seconds: float) -> Look:
    try:
        await require_answer(child, name, seconds=seconds)
    except (DeployerUnavailable, StageError):
        return Look(answered=False, made=tokens_made(await read_metrics(child)))
    return Look(answered=True)


async def _replace(servers: Servers, child: Child, seconds: float, renewed: Counts) -> None:
    """Renew a server that hangs; where there is no room beside it, it is stopped, for what is missing is started."""
    release_id = child.release.id
    async with servers.lock(release_id):
        if servers.wanted() is not child:
            return
        log.error("hung release %s: its server gives nobody a token; a new one takes its place", release_id)
        try:
            await servers.renew(release_id, always)
        except CheckpointError as error:
            log.error("not_renewed release %s: %s", release_id, error)
            return
        except (DeployError, OSError) as error:
            log.error("not_renewed release %s: %s", release_id, error)
            if not child.running or (await _look(child, servers.name, seconds)).answered:
                return
            await child.stop(drain_seconds=0.0)
        renewed.add("hung")
