"""The e-detector: mean probes to a false alarm over gamma, and its delay over the optimal CUSUM's.

The CUSUM is exact (its chain is solved) and is told p1; the e-detector is simulated from zero.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tests.benchmarks.detection_exact import kl, optimal_cusum
from tests.benchmarks.detection_streams import (
    CASES,
    Design,
    Floats,
    Ints,
    adaptive,
    largest_gap,
    round_robin,
    run_lengths,
    runs_to_alarm,
)

__all__ = ["STRATA", "false_alarms", "mean", "measure"]

STRATA = 42
_ARL_GAMMA = 1e3
_GAMMAS = (1e4, 1e6)
_SEED = 101


def mean(values: Ints | Floats) -> tuple[float, float]:
    """Mean and its standard error."""
    return float(values.mean()), float(values.std(ddof=1) / len(values) ** 0.5)


def measure(*, quick: bool) -> dict[str, Any]:
    """Simulate all cases."""
    arl, arl_rows = false_alarms(runs=300 if quick else 4000)
    ratios: dict[tuple[Design, float], float] = {}
    rows = []
    for i, case in enumerate(CASES):
        for gamma in _GAMMAS:
            rng = np.random.default_rng((_SEED, i, int(gamma)))
            rates = np.full((2000 if quick else 100_000, 1), case.p1)
            ours, error = mean(run_lengths(case, rates, gamma, round_robin, rng))
            best = optimal_cusum(case.p0, case.p1, gamma).probes(case.p1)
            ratios[case, gamma] = ours / best
            lorden = np.log(gamma) / kl(case.p1, case.p0)
            name = f"{case} gamma {gamma:g}: delay (CUSUM, ln gamma/KL)"
            rows.append((name, "", f"{ours:.2f} +- {error:.2f} ({best:.2f}, {lorden:.1f}), ratio {ours / best:.3f}"))
    gap = max(largest_gap(case, strata, case.p1, 400, _SEED) for case in CASES for strata in (1, STRATA))
    return {
        "arl_over_gamma_min": min(arl.values()),
        "delay_ratio_1e4_max": max(ratios[case, 1e4] for case in CASES[:2]),
        "delay_ratio_1e6_max": max(ratios[case, 1e6] for case in CASES[:2]),
        "rows": [*arl_rows, *rows, ("largest gap of log R to the library's", "<= 1e-9", f"{gap:.1e}")],
    }


def false_alarms(*, runs: int) -> tuple[dict[str, float], list[tuple[str, str, str]]]:
    """Find the mean probes to a false alarm over gamma, at p0 in all strata.

    ``Runs.compensated`` has the same mean as the count of probes and hardly any spread, which shows a bar that is kept
    with little to spare; the plain count has to agree with it.
    """
    found, rows = {}, []
    policies = (("1 stratum", 1, round_robin), ("round robin", STRATA, round_robin), ("adaptive", STRATA, adaptive))
    for i, case in enumerate(CASES):
        for j, (name, strata, policy) in enumerate(policies):
            rng = np.random.default_rng((_SEED, 7, i, j))
            lengths, compensated = runs_to_alarm(case, np.full((runs, strata), case.p0), _ARL_GAMMA, policy, rng)
            plain, sure = (mean(values / _ARL_GAMMA) for values in (lengths, compensated))
            if abs(plain[0] - sure[0]) > 4 * (plain[1] + sure[1]):
                raise SystemExit(f"{case} {name}: {plain} probes counted, {sure} by the martingale")
            found[f"{case} {name}"] = sure[0]
            said = f"{sure[0]:.4f} +- {sure[1]:.4f} (counted: {plain[0]:.3f} +- {plain[1]:.3f})"
            rows.append((f"{case} {name}: mean probes to a false alarm / gamma", ">= 1", said))
    return found, rows
