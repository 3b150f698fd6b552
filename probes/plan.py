"""What a sweep asks: attack and behavior drawn i.i.d. by a keyed generator, with the probability of each draw. Pure."""

from __future__ import annotations

import bisect
import hashlib
import hmac
import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

from probes.attack import Attack
from probes.behavior import Behavior, Suite
from probes.errors import SuiteError
from probes.probe import Probe, ProbeId, Sampling
from probes.result import SweepId

__all__ = ["KeyedDraws", "WeightedAttack", "plan_sweep"]


@dataclass(frozen=True, slots=True, kw_only=True)
class WeightedAttack:
    """One part of a mixture of attacks; its share is its weight over the sum of all weights."""

    attack: Attack
    weight: float = 1.0


class KeyedDraws:
    """Uniform draws by HMAC-SHA256: the same for the same key, stream and name, on every machine.

    Whoever lacks the key can't tell which prompt comes next, and no draw depends on another.
    """

    def __init__(self, key: str, stream: str) -> None:
        """Take the site's key and the name of the stream (a sweep's id)."""
        self._keyed = hmac.new(key.encode(), stream.encode(), hashlib.sha256)

    def bits(self, name: str) -> int:
        """Return 64 random bits."""
        draw = self._keyed.copy()
        draw.update(b"/" + name.encode())
        return int.from_bytes(draw.digest()[:8], "big")

    def uniform(self, name: str) -> float:
        """Return a number in [0, 1), evenly spread."""
        return (self.bits(name) >> 11) * 2.0**-53


def plan_sweep(
    suite: Suite,
    behaviors: Sequence[Behavior],
    *,
    sweep: SweepId,
    attacks: Sequence[WeightedAttack],
    sampling: Sampling,
    key: str,
    n: int | None = None,
) -> tuple[Probe, ...]:
    """Choose what to ask. Each probe is a draw of its own, so that outcomes are i.i.d. whatever prompts have in common.

    Args:
        suite: Where the behaviors are from.
        behaviors: Where to draw from (a partition of the suite).
        sweep: Names the stream of draws.
        attacks: One or more, drawn by their weights.
        sampling: How the target is to answer.
        key: The site's key; with the sweep's id it decides every draw and each probe's own seed.
        n: Draw this many with replacement; ``None`` asks each behavior once, in order, each by one drawn attack.

    Raises:
        SuiteError: There is nothing to draw from, or the weights are no weights.
    """
    if not behaviors or not attacks:
        raise SuiteError(f"sweep {sweep}: nothing to ask of suite {suite.name}; give it behaviors and an attack")
    weights = [a.weight for a in attacks]
    if not all(math.isfinite(w) and w > 0 for w in weights):
        raise SuiteError(f"sweep {sweep}: weights of attacks must be above 0, not {weights}")
    steps = list(itertools.accumulate(weights))
    draws = KeyedDraws(key, sweep)
    probes = []
    for i in range(len(behaviors) if n is None else n):
        chosen = i if n is None else draws.bits(f"{i}/behavior") * len(behaviors) >> 64
        part = min(bisect.bisect_right(steps, draws.uniform(f"{i}/attack") * steps[-1]), len(attacks) - 1)
        behavior, attack = behaviors[chosen], attacks[part].attack
        seed = draws.bits(f"{i}/seed") >> 33
        probes.append(
            Probe(
                id=ProbeId(f"{sweep}/{i:04d}"),
                suite=suite.name,
                behavior=behavior,
                attack=attack.name,
                messages=attack.messages(behavior, seed=seed),
                sampling=sampling,
                seed=seed,
                probability=weights[part] / steps[-1] / (1 if n is None else len(behaviors)),
            )
        )
    return tuple(probes)
