"""The figures and rules in docs/discussions/statistics.md are the library's and the daemon's.

``python -m tests.unit.test_statistics_page`` prints the table.
"""

from __future__ import annotations

import math
import random
import re
import sys
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
import yaml

from monitor.baseline import Baseline, Tally
from monitor.metrics import METRICS
from monitor.policy import Rates
from monitor.probe_log import Epoch, LogEntry
from monitor.target_settings import StatisticsSettings
from monitor.watch import Phase, fold, new_watch
from probes.statistics.alternatives import log_factors, log_weights, tilted_grid
from probes.statistics.evalues import Decision, SequentialTest

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "discussions" / "statistics.md").read_text(encoding="utf-8")
CASES = ((0.10, 0.30), (0.02, 0.10))
DEFAULTS = StatisticsSettings()
STRATA = 40


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


def mean_delay(p0: float, p1: float, rate: float, gamma: float, *, runs: int) -> Figure:
    """Probes from the change to the alarm: many runs of the detector at once, each until it fires."""
    q, w = tilted_grid(p1)
    weights = np.array(log_weights(p0, q, w))
    safe, harmful = np.array(log_factors(p0, q, 0.0)), np.array(log_factors(p0, q, 1.0))
    draws = np.random.default_rng(20261125)
    log_m, found = np.full((runs, len(q)), -np.inf), []
    n = 0
    while len(log_m):
        n += 1
        outcome = draws.random(len(log_m)) < rate
        log_m = np.logaddexp(log_m, 0.0) + np.where(outcome[:, None], harmful, safe)
        going = np.logaddexp.reduce(log_m + weights, axis=1) < math.log(gamma)
        found += [n] * int((~going).sum())
        log_m = log_m[going]
    return Figure(value=float(np.mean(found)), standard_error=float(np.std(found) / math.sqrt(runs)))


def hunted(p0: float, p1: float, *, runs: int) -> Figure:
    """Mean probes of the whole watch until one stratum of many is found, at 95 %, drawn as the daemon draws."""
    rates = Rates(**{**DEFAULTS.model_dump(), "p0": p0, "p1": p1})
    names = [f"c{i}/direct" for i in range(STRATA)]
    baseline = Baseline(release="good", strata={name: Tally(n=200, harmful=0) for name in names})
    begun = datetime(2026, 1, 1, tzinfo=UTC)
    epoch = Epoch(id=1, target="t", release="r", key="k", started_at=begun, baseline=baseline)
    found = [_hunt(rates, epoch, names, random.Random(seed)) for seed in range(runs)]
    return Figure(value=float(np.mean(found)), standard_error=float(np.std(found) / math.sqrt(runs)))


def _hunt(rates: Rates, epoch: Epoch, names: list[str], draws: random.Random) -> int:
    watch, shares = new_watch(rates, epoch), dict.fromkeys(names, 1 / STRATA)
    while watch.phase is not Phase.BREACH:
        chances = watch.probabilities(shares)
        hunts = chances != shares and draws.random() >= rates.epsilon
        name = max(chances, key=lambda k: chances[k]) if hunts else draws.choice(names)
        entry = LogEntry(
            sweep="s", at=epoch.started_at, purpose="routine", release="r", suite="s", behavior="b",
            category=name.split("/")[0], attack="direct", judge="j", seed=0, score=None, missing="", epoch=1,
            harmful=draws.random() < (0.95 if name == names[7] else rates.p0 / 10), position=watch.position + 1,
            stream="hunt" if hunts else "survey", share=shares[name], probability=chances[name],
        )  # fmt: skip
        watch = fold(watch, [entry])
    return watch.position


def rows(*, runs: int, hunts: int) -> dict[str, list[Figure]]:
    """Compute the table."""

    def drift(gamma: float, *rate: float) -> list[Figure]:
        return [mean_delay(p0, p1, *(rate or (p1,)), gamma, runs=runs) for p0, p1 in CASES]

    breach = DEFAULTS.gamma_breach
    return {
        "certify a release that is harmful a tenth as often as p0": [decided(p0, p1, p0 / 10) for p0, p1 in CASES],
        "certify a release that is just at p0": [decided(p0, p1, p0) for p0, p1 in CASES],
        "see a drift to p1: burst": drift(DEFAULTS.gamma_warn),
        "see a drift to p1: breach": drift(breach),
        "the same at a thousandth of `gamma_breach`": drift(breach / 1e3),
        "see a drift to 90 %: breach": drift(breach, 0.9),
        f"see one of {STRATA} strata go to 95 %: breach": [hunted(p0, p1, runs=hunts) for p0, p1 in CASES],
        "confirm a drift to p1": [decided(p0, p1, p1) for p0, p1 in CASES],
        "confirm a drift to 90 %": [decided(p0, p1, 0.9) for p0, p1 in CASES],
    }


def table() -> str:
    """Write the table as the page has it."""
    heads = " | ".join(f"p0 = {p0:.2f}, p1 = {p1:.2f}" for p0, p1 in CASES)
    lines = [f"| probes, on average, to | {heads} |", "| --- | --- | --- |"]
    computed = rows(runs=20_000, hunts=400).items()
    return "\n".join([*lines, *(f"| {name} | {' | '.join(map(_said, figures))} |" for name, figures in computed)])


def _said(figure: Figure) -> str:
    return f"{figure.value:.0f}" if figure.value >= 20 else f"{figure.value:.1f}"


def test_the_table_is_what_the_library_gives() -> None:
    on_page = re.findall(r"^\| (.+?) \| ([\d.]+) \| ([\d.]+) \|$", PAGE, re.MULTILINE)
    computed = rows(runs=2_000, hunts=40)
    assert [name for name, *_ in on_page] == list(computed)
    for name, *said in on_page:
        for text, figure in zip(said, computed[name], strict=True):
            rounding = 0.5 if figure.value >= 20 else 0.05
            assert abs(float(text) - figure.value) <= rounding + 3 * figure.standard_error, name


def rules() -> list[dict[str, object]]:
    (group,) = [yaml.safe_load(b) for b in re.findall(r"^```yaml\n(groups:.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)]
    return [rule for g in group["groups"] for rule in g["rules"]]


def test_each_metric_on_the_page_is_exported() -> None:
    named = set(re.findall(r"alignd_[a-z_]*[a-z]", PAGE))
    assert named <= METRICS.keys()
    assert len(named) > 10


def test_evidence_is_alerted_on_at_once() -> None:
    """It has been gathered already: to wait is to add a delay to it."""
    assert rules()
    for rule in rules():
        assert "for" not in rule or "evidence" not in str(rule["expr"]), rule["alert"]


@pytest.mark.parametrize("name", ["p0", "p1", "gamma_warn", "gamma_breach", "alpha", "beta", "theta", "delta", "cap"])
def test_the_defaults_on_the_page_are_those_of_the_settings(name: str) -> None:
    (said,) = re.findall(rf"^\| `{name}` \| ([\d.e-]+) \|", PAGE, re.MULTILINE)
    assert float(said) == getattr(DEFAULTS, name)


if __name__ == "__main__":
    sys.stdout.write(f"{table()}\n")
