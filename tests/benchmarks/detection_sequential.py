"""The sequential test: errors and expected probes, exact, beside Wald's bounds."""

from __future__ import annotations

from typing import Any

from probes.statistics.evalues import SequentialTest
from tests.benchmarks.detection_exact import Exit, decisions, exits, wald_healthy, wald_probes
from tests.benchmarks.detection_streams import CASES, Design

__all__ = ["measure"]

BETA = 1e-2
ALPHAS = (1e-3, 1e-4, 1e-6)
_PROBES = {1e-3: 800, 1e-4: 1000, 1e-6: 1400}
"""Long enough that under 1e-9 of the mass is undecided at p0 and p1; what is left counts as an error."""


def measure(*, quick: bool) -> dict[str, Any]:
    """Compute all cases."""
    alarms, ratios, rows = [], {}, []
    for case in CASES:
        for alpha in ALPHAS[:1] if quick else ALPHAS:
            corridor = decisions(SequentialTest(p0=case.p0, p1=case.p1, alpha=alpha, beta=BETA), _PROBES[alpha])
            null = [exits(corridor, p) for p in (case.p0, case.p0 / 2, case.p0 / 10)]
            drifted = exits(corridor, case.p1)
            alarms += [(e.above + e.still) / alpha for e in null]
            ratios[case, alpha] = drifted.probes / wald_probes(case.p0, case.p1, alpha, BETA)
            rows += _rows(case, alpha, null, drifted)
    strict = [ratio for (case, alpha), ratio in ratios.items() if alpha == ALPHAS[-1] and case in CASES[:2]]
    small, middle, large = CASES
    return {
        "false_alarm_over_alpha_max": max(alarms),
        "wald_ratio_02_10": ratios[small, 1e-3],
        "wald_ratio_05_20": ratios[middle, 1e-3],
        "probes_01_90": ratios[large, 1e-3] * wald_probes(large.p0, large.p1, 1e-3, BETA),
        "wald_ratio_alpha_1e6_max": max(strict, default=None),
        "rows": rows,
    }


def _rows(case: Design, alpha: float, null: list[Exit], drifted: Exit) -> list[tuple[str, str, str]]:
    name = f"{case} alpha {alpha:g}"
    at_p0 = null[0]
    return [
        (f"{name}: probes at p1 (Wald's bound)", "", f"{drifted.probes:.2f} ({wald_probes(case.p0, case.p1, alpha, BETA):.2f})"),  # noqa: E501
        (f"{name}: probes at p0 (Wald's bound)", "", f"{at_p0.probes:.2f} ({wald_healthy(case.p0, case.p1, alpha, BETA):.2f})"),  # noqa: E501
        (f"{name}: false alarms / alpha at p0, p0/2, p0/10", "<= 1", ", ".join(f"{(e.above + e.still) / alpha:.3f}" for e in null)),  # noqa: E501
        (f"{name}: miss / beta at p1", "<= 1.1", f"{(drifted.below + drifted.still) / BETA:.3f}"),
        (f"{name}: undecided mass, at most", "", f"{max(e.still for e in (*null, drifted)):.1e}"),
    ]  # fmt: skip
