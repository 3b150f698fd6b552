"""Negative controls: three ways to do it wrong, which have to be seen to fail, or the benchmark has no power."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from probes.statistics.evalues import MixtureEProcess, SequentialTest, tilted_grid
from tests.benchmarks.detection_exact import decisions, exits
from tests.benchmarks.detection_intervals import ALPHA, wilson_corridor
from tests.benchmarks.detection_streams import CASES, Floats, round_robin, run_lengths

__all__ = ["bursts", "measure", "one_shot"]

DESIGN = CASES[0]
_ALPHA = 1e-3
_CORRELATION = 0.3
_BURST = 10
_PROBES = 800
_PEEKS = 400
_HEALTHY = 10_000
_LOOKED = 1000
_LATE = 3.0
_SEED = 707


def measure(*, quick: bool) -> dict[str, Any]:
    """Run all three; ``failed`` counts those that did as they must."""
    runs = 500 if quick else 5000
    rate, error = bursts(runs)
    peeked = exits(wilson_corridor(np.full(_PEEKS, DESIGN.p0)), DESIGN.p0)
    missed, delay, restarting = one_shot(runs)
    miscovered = peeked.below + peeked.above
    failed = [rate - 3 * error > _ALPHA, miscovered > ALPHA, missed > 0.5 or delay > _LATE * restarting]
    silent = f"one-shot e-process after {_HEALTHY} healthy probes: silent for {_LOOKED} probes of drift"
    return {
        "negative_controls": len(failed),
        "negative_controls_failed": sum(failed),
        "rows": [
            (f"bursts of {_BURST}, ICC {_CORRELATION}: false alarms", f"> {_ALPHA:g}", f"{rate:.4f} +- {error:.4f}"),
            (f"Wilson's interval watched {_PEEKS} times: miscoverage", f"> {ALPHA:g}", f"{miscovered:.3f}"),
            (silent, "> 0.5 or late", f"{missed:.3f}"),
            ("one-shot: mean delay, at least (restarting)", f"> {_LATE:g} times", f"{delay:.0f} ({restarting:.0f})"),
            ("largest gap of log E to the library's", "<= 1e-9", f"{_gap():.1e}"),
        ],
    }


def bursts(runs: int) -> tuple[float, float]:
    """Share of null streams that the i.i.d. test rejects where each ten probes share a beta-distributed rate."""
    rng = np.random.default_rng(_SEED)
    size = 1 / _CORRELATION - 1
    rates = rng.beta(DESIGN.p0 * size, (1 - DESIGN.p0) * size, size=(runs, _PROBES // _BURST)).repeat(_BURST, axis=1)
    counts = (rng.random(rates.shape) < rates).cumsum(axis=1)
    corridor = decisions(SequentialTest(p0=DESIGN.p0, p1=DESIGN.p1, alpha=_ALPHA), _PROBES)
    above, below = counts >= np.array(corridor.upper), counts <= np.array(corridor.lower)
    rejected = above.any(axis=1) & (~below.any(axis=1) | (above.argmax(axis=1) < below.argmax(axis=1)))
    return float(rejected.mean()), float(rejected.std() / runs**0.5)


def one_shot(runs: int, *, gamma: float = 1e6) -> tuple[float, float, float]:
    """Watch with an e-process that is never set back, through healthy probes at p0 / 2 and then drift to p1.

    Returns:
        Share of runs silent for all probes of drift, mean delay where silence counts as its end, and the mean delay
        of the restarting detector from zero.
    """
    rng = np.random.default_rng(_SEED + 1)
    healthy = rng.binomial(_HEALTHY, DESIGN.p0 / 2, size=(runs, 1))
    counts = healthy + (rng.random((runs, _LOOKED)) < DESIGN.p1).cumsum(axis=1)
    over = _log_e(counts.astype(np.float64), np.arange(_LOOKED, dtype=np.float64) + _HEALTHY + 1) >= math.log(gamma)
    delay = np.where(over.any(axis=1), over.argmax(axis=1) + 1, _LOOKED)
    restarting = run_lengths(DESIGN, np.full((runs, 1), DESIGN.p1), gamma, round_robin, rng)
    return float(1 - over.any(axis=1).mean()), float(delay.mean()), float(restarting.mean())


def _log_e(successes: Floats, n: Floats) -> Floats:
    """``MixtureEProcess.log_e`` of many counts."""
    terms = [
        math.log(w) + successes * math.log(q / DESIGN.p0) + (n - successes) * math.log((1 - q) / (1 - DESIGN.p0))
        for q, w in zip(*tilted_grid(DESIGN.p1), strict=True)
    ]
    found: Floats = np.logaddexp.reduce(np.stack(terms), axis=0)
    return found


def _gap(probes: int = 500) -> float:
    """Hold it against the library on one stream: the largest difference."""
    outcomes = np.random.default_rng(_SEED + 2).random(probes) < DESIGN.p1
    ours = _log_e(outcomes.cumsum().astype(np.float64), np.arange(1, probes + 1, dtype=np.float64))
    q, w = tilted_grid(DESIGN.p1)
    one, gap = MixtureEProcess(p0=DESIGN.p0, q=q, w=w), 0.0
    for x, found in zip(outcomes.tolist(), ours, strict=True):
        one = one.update(x)
        gap = max(gap, abs(one.log_e - found))
    return gap
