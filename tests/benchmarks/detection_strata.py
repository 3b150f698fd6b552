"""One of 42 strata drifts: probes until the summed e-detector reaches gamma, by how strata are chosen."""

from __future__ import annotations

from typing import Any

import numpy as np

from tests.benchmarks import detection_streams as streams
from tests.benchmarks.detection_delays import STRATA, mean
from tests.benchmarks.detection_streams import CASES, Floats, Policy

__all__ = ["measure"]

DESIGN = CASES[0]
RATES = (0.95, 0.60, 0.30)
_BARS = (45, 100, 300)
_GAMMA = 1e5
_SEED = 202


def measure(*, quick: bool) -> dict[str, Any]:
    """Simulate; the drifted stratum is drawn for each run, and the detector starts at zero when it drifts."""
    runs = 300 if quick else 4000
    ours, others, rows = [], [], []
    for i, (rate, bar) in enumerate(zip(RATES, _BARS, strict=True)):
        name = f"one of {STRATA} drifts to {rate}: mean probes (p95)"
        rng = np.random.default_rng((_SEED, i))
        rates = np.full((runs, STRATA), DESIGN.p0)
        rates[np.arange(runs), rng.integers(STRATA, size=runs)] = rate
        value, said = _probes(rates, streams.adaptive, rng)
        ours.append(value)
        rows.append((name, f"<= {bar}", said))
        value, said = _probes(rates, streams.round_robin, rng)
        others.append(value)
        rows.append((f"{name}, round robin", "", said))
        rows.append((f"{name}, survey by lot", "", _probes(rates, streams.by_lot, rng)[1]))
        pooled = rates.mean(axis=1, keepdims=True)[: runs // 10]
        rows.append((f"{name}, one detector for all", "", _probes(pooled, streams.round_robin, rng)[1]))
    gap = streams.largest_gap(DESIGN, STRATA, DESIGN.p1, 1000, _SEED)
    rows.append(("largest gap of log R to the library's, same choices", "<= 1e-9", f"{gap:.1e}"))
    return {
        "one_stratum_probes": ours,
        "round_robin_ratio_min": min(b / a for a, b in zip(ours, others, strict=True)),
        "rows": rows,
    }


def _probes(rates: Floats, policy: Policy, rng: np.random.Generator) -> tuple[float, str]:
    lengths = streams.run_lengths(DESIGN, rates, _GAMMA, policy, rng)
    value, error = mean(lengths)
    return value, f"{value:.1f} +- {error:.1f} ({np.quantile(lengths, 0.95):.0f})"
