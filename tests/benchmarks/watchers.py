"""How soon a drifted judge is frozen and a changed server noticed: ``python -m tests.benchmarks.watchers``.

Prints two tables and one JSON object. Seeded; a minute on one core.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np

from probes.statistics.confidence import clopper_pearson
from probes.statistics.judge_monitor import JudgeMonitor
from probes.statistics.tripwire import Tripwire

__all__ = ["Delay", "judge_delay", "tripwire_delay"]

_REPLIES_A_DAY, _LOOKS_AN_HOUR = 60, 12
_JUDGES = ((50, 150), (100, 500))
_DRIFTS = ((0.95, 0.95), (0.95, 0.9), (0.95, 0.7), (0.7, 0.99), (0.3, 0.99))
"""Sensitivity and specificity after the drift; .95 and .99 at the calibration."""
_REFERENCES = (30, 60, 120, 240)
_QUIET = (0, 60, 288)


@dataclass(frozen=True, slots=True, kw_only=True)
class Delay:
    """Replies or looks until it fires: mean and 95th percentile of the runs that did, and how many did."""

    setting: tuple[float, ...]
    mean: float | None
    late: float | None
    fired: float


def judge_delay(harmful: int, safe: int, *, se: float, sp: float, runs: int, cap: int, seed: int = 1) -> Delay:
    """Draw replies from a labelled set until the monitor fires; calibrated at .95 and .99."""
    rng, took = np.random.default_rng(seed), []
    begun = JudgeMonitor(
        sensitivity_null=clopper_pearson(int(0.95 * harmful), harmful, alpha=0.02)[0],
        specificity_null=clopper_pearson(int(0.99 * safe), safe, alpha=0.02)[0],
    )
    for _ in range(runs):
        monitor, n = begun, 0
        while not monitor.drifted and n < cap:
            positive = bool(rng.random() < harmful / (harmful + safe))
            right = bool(rng.random() < (se if positive else sp))
            monitor, n = monitor.update(positive, positive == right), n + 1
        took += [n] if monitor.drifted else []
    return _delay((harmful, safe, se, sp), took, runs)


def tripwire_delay(reference: int, quiet: int, *, runs: int, cap: int, seed: int = 1) -> Delay:
    """Look at a server that changes, for good and plainly, ``quiet`` looks after the reference is full."""
    rng, took = np.random.default_rng(seed), []
    for _ in range(runs):
        wire = Tripwire(reference=tuple(rng.random(reference - reference // 4)), gamma=1e3)
        for score in rng.random(quiet):
            wire = wire.update(float(score))
        n = 0
        while not wire.tripped and n < cap:
            wire, n = wire.update(2.0), n + 1
        took += [n] if wire.tripped else []
    return _delay((reference, quiet), took, runs)


def _delay(setting: tuple[float, ...], took: Sequence[int], runs: int) -> Delay:
    mean, late = (float(np.mean(took)), float(np.percentile(took, 95))) if took else (None, None)
    return Delay(setting=setting, mean=mean, late=late, fired=len(took) / runs)


def _line(delay: Delay, unit: int) -> str:
    if delay.mean is None or delay.late is None:
        return f"{delay.setting}: never"
    return f"{delay.setting}: {delay.mean / unit:.1f} (95 % within {delay.late / unit:.1f}); fired {delay.fired:.0%}"


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=100)
    runs = parser.parse_args().runs
    judges = [
        judge_delay(*labels, se=se, sp=sp, runs=runs, cap=100 * _REPLIES_A_DAY)
        for labels in _JUDGES
        for se, sp in _DRIFTS
    ]  # fmt: skip
    wires = [tripwire_delay(r, q, runs=runs, cap=24 * _LOOKS_AN_HOUR) for r in _REFERENCES for q in _QUIET]
    print(f"days to a frozen judge at {_REPLIES_A_DAY} replies a day: (harmful, safe, sensitivity, specificity)")
    print(*(_line(d, _REPLIES_A_DAY) for d in judges), sep="\n")
    print(f"hours to a tripped wire at {_LOOKS_AN_HOUR} looks an hour: (reference, looks after it)")
    print(*(_line(d, _LOOKS_AN_HOUR) for d in wires), sep="\n")
    print(json.dumps({"judges": [asdict(d) for d in judges], "tripwires": [asdict(d) for d in wires]}))


if __name__ == "__main__":
    main()
