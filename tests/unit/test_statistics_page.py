"""The figures and rules in docs/discussions/statistics.md are the library's and the daemon's.

``python -m tests.unit.test_statistics_page`` prints the table.
"""

from __future__ import annotations

import math
import random
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from statistics import fmean

import numpy as np
import pytest

from monitor.baseline import Baseline, Tally
from monitor.fold import fold
from monitor.metrics import METRICS
from monitor.policy import Rates
from monitor.probe_log import Epoch, LogEntry
from monitor.target_settings import StatisticsSettings
from monitor.watch import Phase, Watch, new_watch
from probes.statistics.allocation import EpsilonGreedyAllocator
from probes.statistics.evalues import Decision, SequentialTest
from tests.benchmarks.detection_streams import Design, Runs, largest_gap

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "discussions" / "statistics.md").read_text(encoding="utf-8")
CASES = ((0.10, 0.30), (0.02, 0.10))
DEFAULTS = StatisticsSettings()
STRATA = 40
HEALTHY = 100
"""Probes of a healthy release before the drift, at least: its certificate comes sooner, mostly."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    value: float
    standard_error: float = 0.0


def decided(p0: float, p1: float, rate: float) -> Figure:
    """Mean probes of the sequential test: exact, over all counts of harmful answers."""
    test = SequentialTest(p0=p0, p1=p1, alpha=DEFAULTS.alpha, beta=DEFAULTS.beta)
    going, mean, n = {0: 1.0}, 0.0, 0
    while sum(going.values()) > 1e-9:
        n += 1
        mean += sum(going.values())
        after: dict[int, float] = {}
        for harmful, chance in going.items():
            after[harmful] = after.get(harmful, 0.0) + chance * (1 - rate)
            after[harmful + 1] = after.get(harmful + 1, 0.0) + chance * rate
        decisions = {s: SequentialTest(**{**_of(test), "n": n, "successes": s}).decision for s in after}
        going = {s: c for s, c in after.items() if decisions[s] is Decision.CONTINUE and c > 1e-14}
    return Figure(value=mean)


def _of(test: SequentialTest) -> dict[str, float]:
    return {"p0": test.p0, "p1": test.p1, "alpha": test.alpha, "beta": test.beta}


def mean_delay(p0: float, p1: float, rate: float, gamma: float, *, runs: int, aim: float | None = None) -> Figure:
    """Probes from the change to gamma: many runs of the detector at once, which aims at the breach where told so."""
    state = Runs(Design(p0=p0, p1=p1), runs, 1, aim or gamma)
    draws = np.random.default_rng(20261125)
    found: list[float] = []
    while len(state.r):
        state.update(np.zeros(len(state.r), dtype=np.int64), draws.random(len(state.r)) < rate)
        over = state.r[:, 0] >= gamma
        found += [float(state.n)] * int(over.sum())
        state.keep(~over)
    return _mean(found)


def _mean(found: list[float]) -> Figure:
    return Figure(value=float(np.mean(found)), standard_error=float(np.std(found, ddof=1) / math.sqrt(len(found))))


def watched(p0: float, p1: float, rate: float, *, drifted: int, runs: int, drifts: int) -> Figure:
    """Mean probes of the whole watch from the drift of so many strata to the breach, drawn as the daemon draws.

    Args:
        runs: Healthy watches.
        drifts: Of each of them, by itself; their mean is one of the values that the standard error is of.
    """
    rates = Rates(**{**DEFAULTS.model_dump(), "p0": p0, "p1": p1})
    names = [f"c{i}/direct" for i in range(STRATA)]
    baseline = Baseline(release="good", strata={name: Tally(n=200, harmful=0) for name in names})
    begun = datetime(2026, 1, 1, tzinfo=UTC)
    epoch = Epoch(id=1, target="t", release="r", key="k", started_at=begun, baseline=baseline)
    found = []
    for draws in map(random.Random, range(runs)):
        healthy = _healthy(new_watch(rates, epoch), names, draws)
        found.append(fmean(_delay(healthy, draws.sample(names, drifted), names, rate, draws) for _ in range(drifts)))
    return _mean(found)


def _healthy(watch: Watch, names: list[str], draws: random.Random) -> Watch:
    """Go on until the release is certified; its survey then takes turns, where p0 is every stratum's null."""
    while not watch.certified or watch.position < HEALTHY:
        watch = _probed(watch, names, dict.fromkeys(names, watch.rates.p0 / 10), draws)
    return watch


def _delay(watch: Watch, worse: list[str], names: list[str], rate: float, draws: random.Random) -> int:
    began, truth = watch.position, dict.fromkeys(names, watch.rates.p0 / 10) | dict.fromkeys(worse, rate)
    while watch.phase is not Phase.BREACH:
        watch = _probed(watch, names, truth, draws)
    return watch.position - began


def _probed(watch: Watch, names: list[str], truth: Mapping[str, float], draws: random.Random) -> Watch:
    shares = dict.fromkeys(names, 1 / len(names))
    allocator = EpsilonGreedyAllocator(shares=shares, epsilon=watch.rates.epsilon)
    log_r = watch.outstanding(names)
    counts = {name: known.surveyed for name, known in watch.by_stratum.items()}
    name, surveys = allocator.deal(log_r, counts, draws.random())
    if surveys and not watch.dealt:
        name = draws.choice(names)
    entry = LogEntry(
        sweep="s", at=watch.epoch.started_at, purpose="routine", release="r", suite="s", behavior="b",
        category=name.split("/")[0], attack="direct", judge="j", seed=0, score=None, missing="", epoch=1,
        harmful=draws.random() < truth[name], position=watch.position + 1, stream="survey" if surveys else "hunt",
        share=shares[name], probability=allocator.probabilities(log_r)[name],
    )  # fmt: skip
    return fold(watch, [entry])


def rows(*, runs: int, watches: int) -> dict[str, list[Figure]]:
    """Compute the table."""

    def drift(gamma: float, *, rate: float | None = None, aim: float | None = None) -> list[Figure]:
        return [mean_delay(p0, p1, rate or p1, gamma, runs=runs, aim=aim) for p0, p1 in CASES]

    def one(rate: float) -> list[Figure]:
        return [watched(p0, p1, rate, drifted=1, runs=watches, drifts=4) for p0, p1 in CASES]

    def every() -> list[Figure]:
        return [watched(p0, p1, p1, drifted=STRATA, runs=watches // 3, drifts=1) for p0, p1 in CASES]

    breach = DEFAULTS.gamma_breach
    return {
        "certify a release that is harmful a tenth as often as p0": [decided(p0, p1, p0 / 10) for p0, p1 in CASES],
        "certify a release that is just at p0": [decided(p0, p1, p0) for p0, p1 in CASES],
        "see a drift to p1: burst": drift(DEFAULTS.gamma_warn, aim=breach),
        "see a drift to p1: breach": drift(breach),
        "the same at a thousandth of `gamma_breach`": drift(breach / 1e3),
        "see a drift to 90 %: breach": drift(breach, rate=0.9),
        f"with a baseline, see one of {STRATA} strata go to 95 %: breach": one(0.95),
        f"with a baseline, see all {STRATA} strata go to p1: breach": every(),
        "confirm a drift to p1": [decided(p0, p1, p1) for p0, p1 in CASES],
        "confirm a drift to 90 %": [decided(p0, p1, 0.9) for p0, p1 in CASES],
    }


def table() -> str:
    """Write the table as the page has it."""
    heads = " | ".join(f"p0 = {p0:.2f}, p1 = {p1:.2f}" for p0, p1 in CASES)
    lines = [f"| probes, on average, to | {heads} |", "| --- | --- | --- |"]
    computed = rows(runs=20_000, watches=300).items()
    return "\n".join([*lines, *(f"| {name} | {' | '.join(map(_said, figures))} |" for name, figures in computed)])


def _said(figure: Figure) -> str:
    return f"{figure.value:.0f}" if figure.value >= 20 else f"{figure.value:.1f}"


def test_the_table_is_what_the_library_gives() -> None:
    on_page = re.findall(r"^\| (.+?) \| ([\d.]+) \| ([\d.]+) \|$", PAGE, re.MULTILINE)
    computed = rows(runs=2_000, watches=25)
    assert [name for name, *_ in on_page] == list(computed)
    for name, *said in on_page:
        for text, figure in zip(said, computed[name], strict=True):
            rounding = 0.5 if figure.value >= 20 else 0.05
            assert abs(float(text) - figure.value) <= rounding + 3 * figure.standard_error, name


def test_the_runs_side_by_side_are_the_library_s() -> None:
    for p0, p1 in CASES:
        assert largest_gap(Design(p0=p0, p1=p1), 1, p1, 300, 20261125) <= 1e-9


def test_each_metric_on_the_page_is_exported() -> None:
    named = set(re.findall(r"alignd_[a-z_]*[a-z]", PAGE))
    assert named <= METRICS.keys()
    assert len(named) > 10


@pytest.mark.parametrize(
    "name",
    ["p0", "p1", "gamma_warn", "gamma_breach", "alpha", "beta", "theta", "theta_stratum", "delta", "cap",
     "baseline_probes"],
)  # fmt: skip
def test_the_defaults_on_the_page_are_those_of_the_settings(name: str) -> None:
    (said,) = re.findall(rf"^\| `{name}` \| ([\d.e-]+) \|", PAGE, re.MULTILINE)
    assert float(said) == getattr(DEFAULTS, name)


if __name__ == "__main__":
    sys.stdout.write(f"{table()}\n")
