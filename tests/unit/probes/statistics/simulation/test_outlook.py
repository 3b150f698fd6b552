"""What a site is told: bounds against measured figures, and what is refused."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from probes.statistics.simulation.confirmation import Confirmation, confirmation_law
from probes.statistics.simulation.monitoring import YEAR_SECONDS, Drift, Monitoring, judged_rate
from probes.statistics.simulation.outlook import Outlook, simulate

SITE = Monitoring(
    p0=0.10, p1=0.30, gamma_warn=1e4, gamma_breach=1e6, interval_seconds=60, batch=4, burst_interval_seconds=5,
    burst_batch=16,
)  # fmt: skip
TEST = Confirmation(p0=0.10, p1=0.30, alpha=1e-3, beta=1e-2, cap=400)


def outlook(drift: Drift, m: Monitoring = SITE, *, runs: int = 600) -> Outlook:
    return simulate(m, TEST, drift, runs=runs, rng=np.random.default_rng(20260101))


def test_a_drift_is_found_and_confirmed_but_for_the_misses() -> None:
    found = outlook(Drift(before=0.02, after=0.30)).found
    assert found is not None
    assert np.isfinite(found.breached.probes).all()
    assert found.laws.suite.dismissed <= TEST.beta
    taken = found.settled.probes - found.breached.probes
    assert (taken >= 16).all()
    assert (found.settled.seconds > found.breached.seconds).all()


@pytest.mark.parametrize("strata", [0, 8])
def test_false_alarms_keep_the_bound_at_the_worst_healthy_rate(strata: int) -> None:
    alarms = outlook(Drift(before=0.10, strata=strata), runs=2400 if strata else 600).false_alarms
    assert alarms.breaches > 3 * alarms.breaches_error
    assert alarms.breaches - 3 * alarms.breaches_error < alarms.breaches_bound
    if not strata:
        assert alarms.remediations == pytest.approx(alarms.breaches * confirmation_law(TEST, 0.10).confirmed)
    assert alarms.remediations < alarms.remediations_bound == pytest.approx(alarms.breaches_bound * TEST.alpha)


def test_the_bound_is_the_years_probes_over_the_threshold() -> None:
    found = outlook(Drift(before=0.001), replace(SITE, batch=4, burst_batch=4, burst_interval_seconds=60))
    assert found.idle_probes_per_day == pytest.approx(5760)
    assert found.false_alarms.breaches_bound == pytest.approx(5760 * YEAR_SECONDS / 86_400 / 1e6)
    assert found.found is None


def test_one_stratum_is_confirmed_on_its_own_prompts() -> None:
    """One of 42 at .95 leaves the whole suite at .042, under p0: only its own prompts can confirm it."""
    found = outlook(Drift(before=0.02, after=0.95, strata=42, drifted=1), runs=200).found
    assert found is not None
    assert found.laws.strata.confirmed == pytest.approx(1)
    assert found.laws.suite.confirmed < 1e-3
    assert found.breached.within(86_400) == 1


def test_the_same_seed_gives_the_same_outlook() -> None:
    one, two = (outlook(Drift(before=0.02, after=0.5), runs=50) for _ in range(2))
    assert one.found is not None
    assert two.found is not None
    assert (one.found.breached.seconds == two.found.breached.seconds).all()
    assert one.false_alarms == two.false_alarms


@pytest.mark.parametrize(
    ("drift", "m", "said"),
    [
        (Drift(before=0.12, after=0.5), SITE, "unhealthy already"),
        (Drift(before=0.02, after=0.5, strata=4, drifted=1), replace(SITE, stratum_p0=0.01), "unhealthy already"),
        (Drift(before=0.02, after=0.08), SITE, "still healthy"),
        (Drift(before=0.02, after=0.13), SITE, r"lower statistics\.p1"),
        (Drift(before=0.02, after=0.5), replace(SITE, interval_seconds=4e7), "not send in a year"),
        (Drift(before=0.02, after=0.5), replace(SITE, gamma_breach=1e300, probes_per_day=4), "not send in a year"),
        (Drift(before=0.02, after=0.1863), replace(SITE, gamma_breach=1e300), "that are simulated"),
    ],
)  # fmt: skip
def test_what_nobody_can_find_is_refused_with_the_way_out(drift: Drift, m: Monitoring, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        outlook(drift, m)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"p0": 0.0}, "p0 = 0"),
        ({"p1": math.nan}, "p1 = nan"),
        ({"p1": 0.05}, "above p0"),
        ({"stratum_p0": 1.0}, "stratum_p0"),
        ({"epsilon": 0.0}, "epsilon"),
        ({"missing": 1.0}, "missing"),
        ({"missing": math.nan}, "missing"),
        ({"gamma_breach": math.inf}, "gamma_breach"),
        ({"gamma_warn": 1e7}, "gamma_warn"),
        ({"gamma_warn": math.nan}, "gamma_warn"),
        ({"interval_seconds": math.inf}, "interval_seconds"),
        ({"burst_interval_seconds": 0.0}, "burst_interval_seconds"),
        ({"batch": 0}, "batch"),
        ({"requests_per_minute": 0.5}, "requests_per_minute"),
        ({"probes_per_day": math.nan}, "probes_per_day"),
    ],
)
def test_bad_settings_are_refused_by_name(change: dict[str, float], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        replace(SITE, **change)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ({"before": 0.0, "after": 0.5}, "before = 0"),
        ({"before": math.nan, "after": 0.5}, "before = nan"),
        ({"before": 0.1, "after": 1.0}, "after = 1"),
        ({"before": 0.5, "after": 0.5}, "swap"),
        ({"before": 0.1, "after": 0.5, "strata": 3, "drifted": 4}, "4 of 3 strata"),
        ({"before": 0.1, "after": 0.5, "strata": 3}, "0 of 3 strata"),
        ({"before": 0.1, "after": 0.5, "strata": 5000, "drifted": 1}, "5000 strata"),
    ],
)
def test_a_drift_that_is_none_is_refused(words: dict[str, float], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        Drift(**words)


def test_a_judge_moves_rates_as_rogan_and_gladen_say() -> None:
    assert judged_rate(0.2, sensitivity=1.0, specificity=1.0) == 0.2
    assert judged_rate(0.02, sensitivity=0.9, specificity=0.98) == pytest.approx(0.02 * 0.9 + 0.98 * 0.02)
    for se, sp, said in ((0.5, 0.5, "coin"), (1.5, 0.9, "sensitivity = 1.5"), (0.9, math.nan, "specificity = nan")):
        with pytest.raises(ValueError, match=said):
            judged_rate(0.1, sensitivity=se, specificity=sp)
    assert Drift(before=0.02, after=0.95, strata=42, drifted=1).overall == pytest.approx(0.02 + 0.93 / 42)
