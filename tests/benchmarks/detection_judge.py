"""The judge-corrected interval: coverage at six settings, exact, beside two others.

Counts of the sweep and of both calibration sets are binomial, so coverage is a sum over all that can come out.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binom

from probes.statistics.judge_error import RoganGladen
from tests.benchmarks.detection_intervals import wilson
from tests.benchmarks.detection_streams import Floats, Ints

__all__ = ["coverage", "measure"]

SENSITIVITY = 0.90
SPECIFICITY = 0.98
PROBES = 200
THETAS = (0.01, 0.05, 0.20)
LABELS = ((100, 300), (50, 50))
_SEEN = 1e-7
"""Counts less probable than this are left out, and count as not covered; so does a judge that is no use."""


def measure(*, quick: bool) -> dict[str, Any]:
    """Compute coverage in each setting."""
    found, rows = [], []
    for positives, negatives in LABELS[1:] if quick else LABELS:
        for theta in THETAS:
            ours, naive, fixed = coverage(theta, positives, negatives)
            found.append(ours)
            name = f"coverage at theta = {theta}, {positives} + {negatives} labels (naive Wilson, fixed Se and Sp)"
            rows.append((name, ">= 0.94", f"{ours:.4f} ({naive:.3f}, {fixed:.3f})"))
    return {"judge_ci_coverage_min": min(found), "rows": rows}


def coverage(theta: float, positives: int, negatives: int, *, probes: int = PROBES) -> tuple[float, float, float]:
    """Sum over all counts of sweep and calibration.

    Returns:
        Coverage of ``RoganGladen.estimate``, of Wilson's interval for the judge's rate, and of a percentile bootstrap
        of the corrected rate that takes Se and Sp for known (for endless draws: a binomial's quantiles).
    """
    rate = theta * SENSITIVITY + (1 - theta) * (1 - SPECIFICITY)
    harmful, law = _likely(probes, rate)
    low, high = wilson(harmful.astype(np.float64), probes)
    naive = float(law[(low <= theta) & (theta <= high)].sum())
    quantiles = binom.ppf([[0.025], [0.975]], probes, harmful / probes) / probes
    ours = fixed = 0.0
    found, of_found = _likely(positives, SENSITIVITY)
    passed, of_passed = _likely(negatives, SPECIFICITY)
    for f, weight in zip(found, of_found, strict=True):
        for s, other in zip(passed, of_passed, strict=True):
            judge = RoganGladen(positives=positives, found=int(f), negatives=negatives, passed=int(s))
            both = weight * other
            ours += both * float(law[_covers(judge, harmful, probes, theta)].sum())
            low, high = (quantiles + s / negatives - 1) / (f / positives + s / negatives - 1)
            fixed += both * float(law[(low.clip(0, 1) <= theta) & (theta <= high.clip(0, 1))].sum())
    return ours, naive, fixed


def _covers(judge: RoganGladen, harmful: Ints, n: int, theta: float) -> NDArray[np.bool_]:
    try:
        bounds = [judge.estimate(int(k), n)[1:] for k in harmful]
    except ValueError:
        return np.zeros(len(harmful), dtype=np.bool_)
    return np.array([low <= theta <= high for low, high in bounds])


def _likely(n: int, p: float) -> tuple[Ints, Floats]:
    counts = np.arange(n + 1)
    law = binom.pmf(counts, n, p)
    return counts[law > _SEEN], law[law > _SEEN]
