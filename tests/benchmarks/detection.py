"""Figures of the statistics: ``python -m tests.benchmarks.detection`` prints a table and, last, one JSON object.

Parts: ``sequential`` test, exact; ``delays`` and false alarms of the e-detector; one of 42 ``strata`` drifts;
``intervals`` and the ``judge``-corrected one, exact; ``peers`` on the same streams (river is installed below
``build/peers`` by the first run); kill and ``replay``; ``months`` without drift; negative ``controls`` that must fail.
All is seeded. ``--quick`` takes fewer runs: it shows that all works, and its figures are no results.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any

from tests.benchmarks import (
    detection_controls,
    detection_delays,
    detection_intervals,
    detection_judge,
    detection_months,
    detection_peers,
    detection_replay,
    detection_sequential,
    detection_strata,
)
from tests.benchmarks.sweep import machine

__all__ = ["PARTS", "bars", "figures"]

PARTS: Mapping[str, Callable[..., dict[str, Any]]] = {
    "sequential": detection_sequential.measure,
    "delays": detection_delays.measure,
    "strata": detection_strata.measure,
    "intervals": detection_intervals.measure,
    "judge": detection_judge.measure,
    "peers": detection_peers.measure,
    "replay": detection_replay.measure,
    "months": detection_months.measure,
    "controls": detection_controls.measure,
}
_ROUNDING = 1e-9
"""A mean that is gamma exactly comes out a little below in floating point."""
_BARS: Mapping[str, tuple[str, Callable[[Any], bool]]] = {
    "false_alarm_over_alpha_max": ("<= 1", lambda v: v <= 1),
    "wald_ratio_02_10": ("<= 1.25", lambda v: v <= 1.25),
    "wald_ratio_05_20": ("<= 1.25", lambda v: v <= 1.25),
    "probes_01_90": ("<= 2.5", lambda v: v <= 2.5),
    "wald_ratio_alpha_1e6_max": ("<= 1.15", lambda v: v <= 1.15),
    "arl_over_gamma_min": (">= 1", lambda v: v >= 1 - _ROUNDING),
    "delay_ratio_1e4_max": ("<= 1.30", lambda v: v <= 1.30),
    "delay_ratio_1e6_max": ("<= 1.20", lambda v: v <= 1.20),
    "one_stratum_probes": ("<= 45 / 100 / 300", lambda v: all(a <= b for a, b in zip(v, (45, 100, 300), strict=True))),
    "round_robin_ratio_min": (">= 3", lambda v: v >= 3),
    "cs_miscoverage_max": ("<= 0.05", lambda v: v <= 0.05),
    "cs_width_over_wilson": ("<= 1.8", lambda v: v <= 1.8),
    "judge_ci_coverage_min": (">= 0.94", lambda v: v >= 0.94),
    "peers_beaten": ("", bool),
    "peers_compared": ("", bool),
    "tuned_peers_beaten": ("", bool),
    "tuned_peers_compared": ("", bool),
    "replay_identical": ("true", bool),
    "update_microseconds": ("< 20", lambda v: v < 20),
    "null_months": ("= 100", lambda v: v == 100),
    "null_month_false_remediations": ("= 0", lambda v: v == 0),
    "negative_controls": ("", bool),
    "negative_controls_failed": ("= 3", lambda v: v == 3),
}


def figures(raw: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Pick the figures that the bars speak of; one whose part did not run is ``None``."""
    measured = {name: value for part in raw.values() for name, value in part.items()}
    return {name: measured.get(name) for name in _BARS}


def bars(found: Mapping[str, Any]) -> list[tuple[str, str, str, str]]:
    """Hold the figures against the bars.

    Returns:
        Name, what is asked, what was measured, and ``reached``, ``MISSED``, ``shown`` (no bar) or ``not run``.
    """
    said = []
    for name, (bar, reached) in _BARS.items():
        value = found[name]
        word = "not run" if value is None else "shown" if not bar else "reached" if reached(value) else "MISSED"
        said.append((name, bar, _text(value), word))
    return said


def _text(value: Any) -> str:  # noqa: ANN401 figures of several types
    if isinstance(value, list):
        return " / ".join(_text(v) for v in value)
    return "" if value is None else f"{value:.6g}" if isinstance(value, float) else str(value)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default=",".join(PARTS), help="parts, with commas between them (default: all)")
    parser.add_argument("--quick", action="store_true", help="fewer runs")
    given = parser.parse_args()
    parts = given.only.split(",")
    if unknown := set(parts) - set(PARTS):
        parser.error(f"no part {', '.join(sorted(unknown))}; there are: {', '.join(PARTS)}")
    about, raw, seconds = machine(), {}, {}
    for part in parts:
        print(f"{time.strftime('%H:%M:%S')} {part}", file=sys.stderr, flush=True)
        began = time.perf_counter()
        raw[part] = PARTS[part](quick=given.quick)
        seconds[part] = round(time.perf_counter() - began, 1)
        for name, asked, measured in raw[part].pop("rows"):
            print(f"{name:<90} {asked:<18} {measured}")
    found = figures(raw)
    print()
    for name, asked, measured, word in bars(found):
        print(f"{word:<8} {name:<32} {asked:<18} {measured}")
    print(json.dumps(found | {"quick": given.quick, "seconds": seconds, "machine": about}))


if __name__ == "__main__":
    main()
