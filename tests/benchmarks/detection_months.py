"""A hundred months without drift: 2,000 probes a day over 42 strata, all at p0, gamma = 1e6, with the confirm stage.

A breach starts the library's own sequential test on fresh probes; only where that rejects too is anything remedied.
Else the breach is unconfirmed, and the detector starts anew.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from probes.statistics.evalues import Decision, SequentialTest
from tests.benchmarks.detection_delays import STRATA
from tests.benchmarks.detection_streams import CASES, Runs, adaptive, largest_gap

__all__ = ["confirmed", "measure"]

DESIGN = CASES[0]
MONTHS = 100
_PROBES = 30 * 2000
_GAMMA_WARN = 1e4
_GAMMA = 1e6
_ALPHA = 1e-3
_BETA = 1e-2
_SEED = 606


def measure(*, quick: bool) -> dict[str, Any]:
    """Simulate."""
    months, probes = (10, 6000) if quick else (MONTHS, _PROBES)
    rng = np.random.default_rng(_SEED)
    state, rows = Runs(DESIGN, months, STRATA, _GAMMA), np.arange(months)
    unconfirmed = remedied = asked = bursts = 0
    burst = np.zeros(months, dtype=np.bool_)
    for _ in range(probes):
        uniform = rng.random((2, months))
        state.update(adaptive(state, uniform[0]), uniform[1] < DESIGN.p0)
        total = state.r.sum(axis=1)
        bursts += int(np.count_nonzero((total >= _GAMMA_WARN) & ~burst))
        burst = total >= _GAMMA_WARN
        for row in rows[total >= _GAMMA]:
            sure, n = confirmed(rng, DESIGN.p0)
            remedied += sure
            unconfirmed += not sure
            asked += n
            state.restart(rows == row)
    gap = largest_gap(DESIGN, STRATA, DESIGN.p0, 500 if quick else 3000, _SEED)
    return {
        "null_months": None if quick else months,
        "null_month_false_remediations": remedied,
        "rows": [
            ("unconfirmed breaches", f"<= {months * probes / _GAMMA:g} expected", str(unconfirmed)),
            ("times in burst (R >= 1e4)", f"<= {months * probes / _GAMMA_WARN:g} expected", str(bursts)),
            ("probes of the confirm stage", "", str(asked)),
            ("probes in all", "", str(months * probes)),
            ("largest gap of log R to the library's, same choices", "<= 1e-9", f"{gap:.1e}"),
        ],
    }


def confirmed(rng: np.random.Generator, rate: float) -> tuple[bool, int]:
    """Run the confirm stage on fresh probes; the probes that it took, too."""
    test = SequentialTest(p0=DESIGN.p0, p1=DESIGN.p1, alpha=_ALPHA, beta=_BETA)
    while test.decision is Decision.CONTINUE:
        test = test.update(bool(rng.random() < rate))
    return test.decision is Decision.REJECT, test.n
