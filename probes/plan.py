"""What a sweep asks: attack and behavior drawn i.i.d. by a keyed generator, with the probability of each draw. Pure."""

from __future__ import annotations

import bisect
import hashlib
import hmac
import itertools
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from probes.attack import Attack
from probes.behavior import Behavior, Suite
from probes.errors import SuiteError
from probes.probe import Probe, ProbeId, Sampling
from probes.result import SweepId
from probes.statistics.allocation import EpsilonGreedyAllocator

__all__ = ["Cell", "KeyedDraws", "KeyedPromptSampler", "Routine", "WeightedAttack", "cells_of", "plan_cells",
           "plan_draws", "plan_routine", "plan_sweep"]  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class WeightedAttack:
    """One part of a mixture of attacks; its share is its weight over the sum of all weights."""

    attack: Attack
    weight: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """A behavior under an attack, and its share of what is sampled from."""

    behavior: Behavior
    attack: Attack
    share: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Routine:
    """How a routine sweep is drawn; decided before it, by what earlier probes found.

    Attributes:
        stratum_of: Names the stratum of a category under an attack.
        probabilities: Of each stratum, none below a fixed part of its share; empty draws as the suite is.
        surveyed: Probes of the survey so far, by stratum: it takes the strata in turn, by their shares. ``None`` draws
            every probe of it by lot.
        sentinels: Behavior ids and attack names of certified prompts.
        sentinel_ratio: Part of the probes that go to them.
    """

    stratum_of: Callable[[str, str], str] = lambda category, attack: f"{category}/{attack}"
    probabilities: Mapping[str, float] | None = None
    surveyed: Mapping[str, int] | None = None
    sentinels: tuple[tuple[str, str], ...] = ()
    sentinel_ratio: float = 0.25


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


class KeyedPromptSampler:
    """Draws cells i.i.d. with replacement, each with the chance of its share among them."""

    def __init__(self, cells: Sequence[Cell], draws: KeyedDraws) -> None:
        """Take what is drawn from, and the stream of draws.

        Raises:
            SuiteError: There is nothing to draw from.
        """
        if not cells:
            raise SuiteError("nothing to draw from; give the suite behaviors and an attack")
        self._cells = cells
        self._steps = list(itertools.accumulate(c.share for c in cells))
        self._draws = draws

    @property
    def share(self) -> float:
        """The cells' share altogether."""
        return self._steps[-1]

    def draw(self, name: str) -> Cell:
        """Return the cell that the draw of this name chooses."""
        at = self._draws.uniform(name) * self._steps[-1]
        return self._cells[min(bisect.bisect_right(self._steps, at), len(self._cells) - 1)]


def cells_of(behaviors: Sequence[Behavior], attacks: Sequence[WeightedAttack]) -> tuple[Cell, ...]:
    """Return every behavior under every attack; the shares sum to 1.

    Raises:
        SuiteError: The weights are no weights.
    """
    weights = [a.weight for a in attacks]
    if not all(math.isfinite(w) and w > 0 for w in weights):
        raise SuiteError(f"weights of attacks must be above 0, not {weights}")
    total = sum(weights) * len(behaviors)
    return tuple(
        Cell(behavior=b, attack=a.attack, share=a.weight / total) for b in behaviors for a in attacks
    )


def plan_cells(
    suite: Suite,
    drawn: Iterable[tuple[Cell, str, float]],
    *,
    sweep: SweepId,
    sampling: Sampling,
    key: str,
) -> tuple[Probe, ...]:
    """Make a probe of each cell, in order.

    Args:
        drawn: Cell, stream, and with which probability it was drawn.
    """
    draws = KeyedDraws(key, sweep)
    probes = []
    for i, (cell, stream, probability) in enumerate(drawn):
        seed = draws.bits(f"{i}/seed") >> 33
        probes.append(
            Probe(
                id=ProbeId(f"{sweep}/{i:04d}"), suite=suite.name, behavior=cell.behavior, attack=cell.attack.name,
                messages=cell.attack.messages(cell.behavior, seed=seed), sampling=sampling, seed=seed,
                probability=probability, share=cell.share, stream=stream,
            )
        )  # fmt: skip
    return tuple(probes)


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
    draws = KeyedDraws(key, sweep)

    def once(i: int, behavior: Behavior) -> tuple[Cell, str, float]:
        cell = KeyedPromptSampler(cells_of([behavior], attacks), draws).draw(f"{i}/attack")
        return cell, "survey", cell.share

    if n is None:
        drawn = [once(i, b) for i, b in enumerate(behaviors)]
        return plan_cells(suite, drawn, sweep=sweep, sampling=sampling, key=key)
    return plan_draws(suite, cells_of(behaviors, attacks), sweep=sweep, sampling=sampling, key=key, n=n)


def plan_draws(
    suite: Suite, cells: Sequence[Cell], *, sweep: SweepId, sampling: Sampling, key: str, n: int
) -> tuple[Probe, ...]:
    """Draw cells i.i.d. with replacement, each with the chance of its share among them.

    Raises:
        SuiteError: There is nothing to draw from.
    """
    sampler = KeyedPromptSampler(cells, KeyedDraws(key, sweep))
    drawn = [(c, "survey", c.share / sampler.share) for c in (sampler.draw(f"{i}/cell") for i in range(n))]
    return plan_cells(suite, drawn, sweep=sweep, sampling=sampling, key=key)


def plan_routine(
    suite: Suite,
    cells: Sequence[Cell],
    *,
    sentinels: Sequence[Cell],
    routine: Routine,
    sweep: SweepId,
    sampling: Sampling,
    key: str,
    n: int,
) -> tuple[Probe, ...]:
    """Draw a routine sweep: a survey as the suite is, a hunt where earlier probes found evidence, and sentinels.

    The probabilities of the strata are split into the survey's part, which is the largest multiple of the shares that
    fits below them, and the rest, which is the hunt's. So the survey alone is an unbiased sample of the suite, and
    ``probability`` is that of the cell by either way. A survey in turn has the same probabilities in the long run, to
    within one round.

    Raises:
        SuiteError: There is nothing to draw from.
    """
    draws = KeyedDraws(key, sweep)
    survey = KeyedPromptSampler(cells, draws)
    strata: dict[str, list[Cell]] = {}
    for cell in cells:
        strata.setdefault(routine.stratum_of(cell.behavior.category, cell.attack.name), []).append(cell)
    within = {name: KeyedPromptSampler(inside, draws) for name, inside in strata.items()}
    given = routine.probabilities or {}
    ratio = {name: given.get(name, s.share) / s.share for name, s in within.items()}
    surveyed = min(1.0, *ratio.values())
    hunted = {name: (ratio[name] - surveyed) * s.share for name, s in within.items()}
    watched = KeyedPromptSampler(sentinels, draws) if sentinels else None
    counts = None if routine.surveyed is None else {name: routine.surveyed.get(name, 0) for name in within}
    turns = EpsilonGreedyAllocator(shares={name: s.share for name, s in within.items()})

    def surveyed_cell(i: int) -> Cell:
        if counts is None:
            return survey.draw(f"{i}/cell")
        due = turns.overdue(counts)
        counts[due] += 1
        return within[due].draw(f"{i}/cell")

    def one(i: int) -> tuple[Cell, str, float]:
        if watched and draws.uniform(f"{i}/sentinel") < routine.sentinel_ratio:
            cell = watched.draw(f"{i}/cell")
            return cell, "sentinel", cell.share / watched.share
        if draws.uniform(f"{i}/stream") < surveyed:
            cell, stream = surveyed_cell(i), "survey"
        else:
            cell, stream = within[_drawn(hunted, draws.uniform(f"{i}/stratum"))].draw(f"{i}/cell"), "hunt"
        stratum = routine.stratum_of(cell.behavior.category, cell.attack.name)
        return cell, stream, ratio[stratum] * cell.share

    return plan_cells(suite, [one(i) for i in range(n)], sweep=sweep, sampling=sampling, key=key)


def _drawn(masses: Mapping[str, float], uniform: float) -> str:
    names = [name for name, mass in masses.items() if mass > 0]
    steps = list(itertools.accumulate(masses[name] for name in names))
    return names[min(bisect.bisect_right(steps, uniform * steps[-1]), len(names) - 1)]
