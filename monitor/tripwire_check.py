"""Look at a server's first-token log-probabilities. A look may only raise the probe rate; it is no evidence of harm."""

from __future__ import annotations

import hashlib
import hmac
import json
import logging
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

from monitor.errors import ConfigError
from monitor.looks import NO_LOGPROBS, LookRow, Reading, TripwireState, distance, fold_looks
from monitor.probe_log import Epoch
from monitor.store import LookBook
from probes.attack import Attack
from probes.behavior import Behavior, Suite
from probes.errors import HeldBack, TargetError
from probes.plan import KeyedDraws
from probes.probe import Probe, ProbeId, Sampling
from probes.target import Completion, Target

__all__ = ["TripwireCheck", "look", "present_tripwire", "tripwire_prompts"]

log = logging.getLogger("alignd")

_SAMPLING = Sampling(max_tokens=1, temperature=0.0, top_logprobs=20)
"""20 is the most that the OpenAI API gives."""
_LOGPROB_MIN = -50.0
"""What is less likely is noise; vLLM writes -9999 for what can't be."""
_RELEASE_ID = re.compile(r"[^@\s]+@[0-9a-f]{12}")


@dataclass(frozen=True, slots=True, kw_only=True)
class TripwireCheck:
    """What it takes to look at one target; see ``monitor.statistics_settings.TripwireSettings``.

    Attributes:
        target: Asks the public endpoint, and gives way to its users.
        prompts: The same in each look, see ``tripwire_prompts``.
        attack: How they are asked: the direct request.
        site_key: Decides seeds, and hides tokens in the store.
        reference: Looks that the rest of an epoch is held against.
        gamma: Evidence that trips the wire.
    """

    target: Target
    prompts: tuple[Behavior, ...]
    attack: Attack
    book: LookBook
    site_key: str
    reference: int
    gamma: float

    @property
    def key(self) -> str:
        """Digest of what is asked and of the size of the reference: looks of different keys are never compared."""
        what = [[[b.id, b.prompt] for b in self.prompts], self.attack.sha256, self.reference, repr(_SAMPLING)]
        return hashlib.sha256(json.dumps(what).encode()).hexdigest()[:16]


def tripwire_prompts(suites: Sequence[Suite], *, n: int, key: str) -> tuple[Behavior, ...]:
    """Choose the prompts of all looks by the site's key; fewer where the suites have fewer.

    Raises:
        ConfigError: There are none.
    """
    draws = KeyedDraws(key, "tripwire")
    behaviors = sorted((b for s in suites for b in s.behaviors), key=lambda b: draws.bits(b.id))
    if not behaviors:
        raise ConfigError("tripwire: the benign suites have no prompts; name some under suites.benign")
    return tuple(behaviors[:n])


def present_tripwire(check: TripwireCheck, epoch: Epoch) -> TripwireState:
    """Say how the wire stands by the book.

    Raises:
        LogFault: The book's looks don't follow each other.
    """
    rows = check.book.looks(epoch.target, epoch.id, check.key)
    return fold_looks(rows, reference=check.reference, gamma=check.gamma)


async def look(
    check: TripwireCheck, state: TripwireState, *, epoch: Epoch, clock: Callable[[], datetime]
) -> LookRow | None:
    """Look once, put it on the book, and return it for ``TripwireState.update``.

    One prompt after the other, so that looks put no load on a server and meet as little of their own as can be.

    Returns:
        The look; ``None`` where probing is held back (paused, or the day's budget is used up).

    Raises:
        StaleSeries: Another process looked meanwhile.
    """
    try:
        readings, missing = await _readings(check, epoch)
    except HeldBack:
        return None
    baseline = state.baseline
    row = LookRow(
        target=epoch.target, epoch=epoch.id, key=check.key, position=state.position + 1, at=clock(), missing=missing,
        readings=readings if not baseline else (),
        score=distance(readings, baseline) if baseline and not missing else None,
    )  # fmt: skip
    check.book.append_look(row)
    if missing == NO_LOGPROBS and not state.n:
        log.warning("tripwire_off", extra={"target": epoch.target, "why": state.update(row).why})
    return row


async def _readings(check: TripwireCheck, epoch: Epoch) -> tuple[tuple[Reading, ...], str]:
    """Ask all prompts; nothing where one is missing, for fewer prompts would be another kind of look."""
    found: list[Reading] = []
    released = set[str]()
    for number, behavior in enumerate(check.prompts):
        try:
            completion = await check.target.complete(_probe(check, number, behavior))
        except HeldBack:
            raise
        except TargetError as error:
            return (), error.reason
        released.add(completion.release)
        reading = _reading(check.site_key, completion)
        if not reading:
            return (), NO_LOGPROBS
        found.append(reading)
    if len(released) > 1 or any(_RELEASE_ID.fullmatch(r) and r != epoch.release for r in released):
        return (), "other_release"
    return tuple(found), ""


def _probe(check: TripwireCheck, number: int, behavior: Behavior) -> Probe:
    seed = KeyedDraws(check.site_key, "tripwire").bits(f"{behavior.id}/seed") >> 33
    return Probe(
        id=ProbeId(f"look/{number:04d}"), suite="tripwire", behavior=behavior, attack=check.attack.name,
        messages=check.attack.messages(behavior, seed=seed), sampling=_SAMPLING, seed=seed,
    )  # fmt: skip


def _reading(key: str, completion: Completion) -> Reading:
    """Name tokens by a keyed digest: the store holds no word of an answer. The likeliest of two namesakes counts."""
    reading: dict[str, float] = {}
    for token, logprob in completion.first_token:
        if not math.isnan(logprob):
            name = hmac.new(key.encode(), token.encode("utf-8", "surrogatepass"), hashlib.sha256).hexdigest()[:12]
            reading.setdefault(name, max(logprob, _LOGPROB_MIN))
    return reading
