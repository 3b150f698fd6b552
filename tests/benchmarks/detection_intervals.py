"""Intervals: a gauge that is watched after each probe, and a rate corrected for the judge's error. Both exact.

A confidence sequence misses once its interval leaves the target out at any look, so its miscoverage is the
probability that (n, S) ever leaves a corridor. A schedule of rates gives the running mean to aim at.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from probes.statistics.confidence import SubBernoulliConfidenceSequence
from tests.benchmarks.detection_exact import Corridor, exits
from tests.benchmarks.detection_streams import Floats

__all__ = ["ALPHA", "corridor", "measure", "schedules", "wilson", "wilson_corridor"]

ALPHA = 0.05
LOOKS = 1000
RATES = (0.005, 0.02, 0.1, 0.5, 0.9)
_WIDTH_PROBES = 400
_WIDTH_RATE = 0.02
_CHASED = 0.1
_ETAS = np.array([sign * 0.05 * 80 ** (j / 11) for sign in (-1, 1) for j in range(12)])
_Z = 1.959963984540054


def measure(*, quick: bool) -> dict[str, Any]:
    """Compute miscoverage and width."""
    looks = 200 if quick else LOOKS
    missed, rows = [], []
    for name, rates in schedules(looks).items():
        targets = np.cumsum(rates) / np.arange(1, looks + 1)
        left = exits(corridor(targets), list(rates))
        watched = exits(wilson_corridor(targets), list(rates))
        missed.append(left.below + left.above)
        said = f"{missed[-1]:.4f} ({watched.below + watched.above:.3f})"
        rows.append((f"miscoverage in {looks} looks, {name} (Wilson's)", f"<= {ALPHA}", said))
    widths = {p: _width_ratio(p) for p in RATES}
    rows += [(f"width over Wilson's at n = {_WIDTH_PROBES}, p = {p}", "", f"{w:.3f}") for p, w in widths.items()]
    chased, error = _chased(looks)
    name = f"miscoverage in {looks} looks, p = {_CHASED} +- 80 %, away from the mean so far"
    rows.append((name, f"<= {ALPHA}", f"{chased:.4f} +- {error:.4f}"))
    rows.append(("edges at which the formula was held against the library", "", str(_checked())))
    return {"cs_miscoverage_max": max(*missed, chased), "cs_width_over_wilson": widths[_WIDTH_RATE], "rows": rows}


def schedules(looks: int) -> dict[str, Sequence[float]]:
    """Name the rates of all probes: constant ones, and ones that jump by 80 % to either side."""
    seeded = np.random.default_rng(303)
    signs = {
        "each probe": np.where(np.arange(looks) % 2, 1, -1),
        "every 50 probes": np.where(np.arange(looks) // 50 % 2, 1, -1),
        "once, upwards": np.where(np.arange(looks) < looks // 2, -1, 1),
        "once, downwards": np.where(np.arange(looks) < looks // 2, 1, -1),
        "at random": seeded.choice([-1, 1], size=looks),
    }
    constant = {f"p = {p}": np.full(looks, p).tolist() for p in RATES}
    jumping = {
        f"p = {p} +- 80 %, {name}": (p * (1 + 0.8 * sign)).tolist() for p in (0.05, 0.5) for name, sign in signs.items()
    }
    return constant | jumping


def corridor(targets: Floats, alpha: float = ALPHA) -> Corridor:
    """Find the counts at which the confidence sequence leaves out the n-th target."""
    lower, upper = [], []
    for n, target in enumerate(targets, 1):
        inside = np.flatnonzero(_log_wealth(np.arange(n + 1, dtype=np.float64), n, target) < math.log(1 / alpha))
        lower.append(int(inside[0]) - 1)
        upper.append(int(inside[-1]) + 1)
    return Corridor(lower=tuple(lower), upper=tuple(upper))


def wilson(successes: Floats, n: float) -> tuple[Floats, Floats]:
    """Wilson's 95 % interval for a fixed n."""
    shrunk, size = successes + _Z**2 / 2, n + _Z**2
    middle = shrunk / size
    half = _Z / size * np.sqrt(successes * (n - successes) / n + _Z**2 / 4)
    return middle - half, middle + half


def wilson_corridor(targets: Floats) -> Corridor:
    """Find the counts at which Wilson's interval, as if n had been fixed, leaves out the n-th target."""
    lower, upper = [], []
    for n, target in enumerate(targets, 1):
        low, high = wilson(np.arange(n + 1, dtype=np.float64), n)
        inside = np.flatnonzero((low <= target) & (target <= high))
        below = int(np.count_nonzero(high < target))
        lower.append(below - 1)
        upper.append(int(inside[-1]) + 1 if len(inside) else below)
    return Corridor(lower=tuple(lower), upper=tuple(upper))


def _width_ratio(p: float) -> float:
    """Expected width of ours over the expected width of Wilson's."""
    n = _WIDTH_PROBES
    counts = np.arange(n + 1)
    law = np.exp([_log_binomial(n, int(k), p) for k in counts])
    likely = counts[law > 1e-9]
    ours = sum(law[k] * _width(SubBernoulliConfidenceSequence(alpha=ALPHA, n=n, total=float(k))) for k in likely)
    low, high = wilson(likely.astype(np.float64), n)
    return float(ours / (law[likely] * (np.minimum(high, 1) - np.maximum(low, 0))).sum())


def _width(sequence: SubBernoulliConfidenceSequence) -> float:
    low, high = sequence.interval
    return high - low


def _log_binomial(n: int, k: int, p: float) -> float:
    ways = math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)
    return ways + k * math.log(p) + (n - k) * math.log1p(-p)


def _chased(looks: int, *, runs: int = 2000) -> tuple[float, float]:
    """Let the rate jump by what came out: down where the mean so far is below its target, else up.

    Returns:
        Miscoverage and its standard error; the target is a run's own mean of rates.
    """
    rng = np.random.default_rng(304)
    total, aimed, missed = np.zeros(runs), np.zeros(runs), np.zeros(runs, dtype=np.bool_)
    for n in range(1, looks + 1):
        rates = _CHASED * (1 + 0.8 * np.where(total < aimed, -1, 1))
        aimed += rates
        total += rng.random(runs) < rates
        missed |= _log_wealth(total, n, aimed / n) >= math.log(1 / ALPHA)
    return float(missed.mean()), float(missed.std() / runs**0.5)


def _log_wealth(totals: Floats, n: int, targets: Floats) -> Floats:
    powers = np.multiply.outer(totals, _ETAS) - n * np.log1p(np.multiply.outer(targets, np.expm1(_ETAS)))
    top = powers.max(axis=-1)
    found: Floats = top + np.log(np.exp(powers - top[..., None]).mean(axis=-1))
    return found


def _checked() -> int:
    """Hold the corridor's edges against the library's intervals; count them.

    Raises:
        SystemExit: They differ, so the figures would be of something else.
    """
    edges = 0
    for p in RATES:
        found = corridor(np.full(LOOKS, p))
        for n in (1, 7, 50, 333, LOOKS):
            low, high = found.lower[n - 1], found.upper[n - 1]
            for s in {low, low + 1, high - 1, high} & set(range(n + 1)):
                bounds = SubBernoulliConfidenceSequence(alpha=ALPHA, n=n, total=float(s)).interval
                if (bounds[0] <= p <= bounds[1]) is not (low < s < high):
                    raise SystemExit(f"{s} of {n} at {p}: the formula is not the library's any more")
                edges += 1
    return edges
