"""The judge's monitor: mean runs to a false alarm by seeded simulation, and a naive second implementation."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from probes.statistics.judge_monitor import JudgeMonitor

ODDS, WEIGHTS = (2, 5, 20), (0.25, 0.5, 0.25)


def naive(errors: list[bool], p0: float) -> float:
    """R as a sum over change points and alternatives of products of likelihood ratios."""
    r = 0.0
    for odds, w in zip(ODDS, WEIGHTS, strict=True):
        q = odds * p0 / (1 - p0) / (1 + odds * p0 / (1 - p0))
        factors = [q / p0 if e else (1 - q) / (1 - p0) for e in errors]
        r += w * sum(math.prod(factors[start:]) for start in range(len(factors)))
    return r


@given(st.lists(st.tuples(st.booleans(), st.booleans()), max_size=40), st.floats(0.5, 0.999), st.floats(0.5, 0.999))
def test_the_statistic_is_the_naive_sum(gold: list[tuple[bool, bool]], se: float, sp: float) -> None:
    monitor = JudgeMonitor(sensitivity_null=se, specificity_null=sp)
    for positive, called in gold:
        monitor = monitor.update(positive, called)
    misses = naive([not called for positive, called in gold if positive], 1 - se)
    false_alarms = naive([called for positive, called in gold if not positive], 1 - sp)
    assert monitor.n == len(gold)
    if gold:
        assert monitor.log_r == pytest.approx(math.log(misses + false_alarms), abs=1e-9)
    else:
        assert monitor.log_r == -math.inf
    assert monitor.drifted == (misses + false_alarms >= monitor.gamma)
    if monitor.drifted:
        assert monitor.which == ("sensitivity" if misses >= false_alarms else "specificity")
    else:
        assert monitor.which == ""


def runs(rng: np.random.Generator, count: int, most: int, *, miss: float, false_alarm: float) -> npt.NDArray[np.int64]:
    """Gold replies to the alarm at gamma = 200 in vectorised runs, a quarter positive; nulls .9 and .95."""
    m = np.zeros((count, 2, 3))
    p0 = np.array([[0.1], [0.05]])
    odds = np.array(ODDS) * p0 / (1 - p0)
    q = odds / (1 + odds)
    stopped = np.full(count, most)
    for t in range(most):
        kind = (rng.random(count) >= 0.25).astype(int)
        wrong = rng.random(count) < np.where(kind == 0, miss, false_alarm)
        factor = np.where(wrong[:, None], (q / p0)[kind], ((1 - q) / (1 - p0))[kind])
        m[np.arange(count), kind] = (m[np.arange(count), kind] + 1) * factor
        stopped = np.where((stopped == most) & ((m @ WEIGHTS).sum(axis=1) >= 200), t + 1, stopped)
    return stopped


def test_false_alarms_are_at_least_gamma_replies_apart_on_average() -> None:
    """Runs are cut at 20 gamma, which can only shorten their mean."""
    stopped = runs(np.random.default_rng(1), 400, 4000, miss=0.1, false_alarm=0.05)
    assert stopped.mean() >= 200 + 3 * stopped.std() / 20


@pytest.mark.parametrize(("miss", "false_alarm"), [(0.1, 0.25), (0.5, 0.05)])
def test_a_judge_that_drifts_is_found_soon(*, miss: float, false_alarm: float) -> None:
    assert runs(np.random.default_rng(2), 200, 400, miss=miss, false_alarm=false_alarm).mean() <= 70


@pytest.mark.parametrize(("kind", "which"), [(True, "sensitivity"), (False, "specificity")])
def test_what_fell_is_named(*, kind: bool, which: str) -> None:
    monitor = JudgeMonitor(sensitivity_null=0.9, specificity_null=0.95)
    while not monitor.drifted:
        monitor = monitor.update(kind, not kind).update(not kind, not kind)
    assert monitor.which == which
    assert monitor.n <= 20


def test_each_step_raises_the_mean_by_one_exactly_at_the_null() -> None:
    monitor = JudgeMonitor(sensitivity_null=0.9, specificity_null=0.95).update(True, False).update(False, True)
    for positive, p0 in ((True, 0.1), (False, 0.05)):
        wrong, right = monitor.update(positive, not positive), monitor.update(positive, positive)
        mean = p0 * math.exp(wrong.log_r) + (1 - p0) * math.exp(right.log_r)
        assert mean == pytest.approx(math.exp(monitor.log_r) + 1)


@pytest.mark.parametrize("value", [0.0, 1.0, math.nan, 1.5])
def test_nulls_outside_the_open_interval_are_refused(value: float) -> None:
    with pytest.raises(ValueError, match="sensitivity_null"):
        JudgeMonitor(sensitivity_null=value, specificity_null=0.9)
    with pytest.raises(ValueError, match="specificity_null"):
        JudgeMonitor(sensitivity_null=0.9, specificity_null=value)


@pytest.mark.parametrize("gamma", [1.0, 0.0, math.nan, math.inf])
def test_thresholds_that_mean_nothing_are_refused(gamma: float) -> None:
    with pytest.raises(ValueError, match="gamma"):
        JudgeMonitor(sensitivity_null=0.9, specificity_null=0.9, gamma=gamma)
