"""One of 42 strata drifts: probes until the summed e-detector reaches gamma, by how strata are chosen."""

from __future__ import annotations

from typing import Any

import numpy as np

from tests.benchmarks.detection_delays import STRATA, mean
from tests.benchmarks.detection_streams import Design, Floats, Policy, adaptive, round_robin, run_lengths, single

__all__ = ["measure"]

DESIGN = Design(p0=0.02, p1=0.10)
RATES = (0.95, 0.60, 0.30)
_BARS = (45, 100, 300)
_GAMMA = 1e5
_SEED = 202


def measure(*, quick: bool) -> dict[str, Any]:
    """Simulate; the drifted stratum is drawn for each run, and the detector starts at zero when it drifts."""
    runs = 300 if quick else 4000
    ours, others, rows = [], [], []
    for i, rate in enumerate(RATES):
        rng = np.random.default_rng((_SEED, i))
        rates = np.full((runs, STRATA), DESIGN.p0)
        rates[np.arange(runs), rng.integers(STRATA, size=runs)] = rate
        value, said = _probes(rates, adaptive, rng)
        ours.append(value)
        rows.append((f"one of {STRATA} drifts to {rate}: mean probes (p95)", f"<= {_BARS[i]}", said))
        value, said = _probes(rates, round_robin, rng)
        others.append(value)
        rows.append((f"one of {STRATA} drifts to {rate}: round robin", "", said))
        mixed = rates.mean(axis=1, keepdims=True)
        _, said = _probes(mixed[: runs // 10], single, rng)
        rows.append((f"one of {STRATA} drifts to {rate}: one detector for all", "", said))
    return {
        "one_stratum_probes": ours,
        "round_robin_ratio_min": min(b / a for a, b in zip(ours, others, strict=True)),
        "rows": rows,
    }


def _probes(rates: Floats, policy: Policy, rng: np.random.Generator) -> tuple[float, str]:
    lengths = run_lengths(DESIGN, rates, _GAMMA, policy, rng)
    value, error = mean(lengths)
    return value, f"{value:.1f} +- {error:.1f} ({np.quantile(lengths, 0.95):.0f})"
