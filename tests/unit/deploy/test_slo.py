"""The windows of the safety SLO hold what they need to, whatever the cadence."""

from __future__ import annotations

import numpy as np
import pytest
import yaml
from scipy.stats import binom

from deploy.stack.slo import Cadence, levels, slo_rules

CADENCES = [
    Cadence(probes_per_hour=rate, limit=limit) for rate in (2.0, 24.0, 240.0, 6000.0) for limit in (0.02, 0.1, 0.4)
]


@pytest.mark.parametrize("cadence", CADENCES, ids=str)
def test_half_the_limit_seldom_exceeds_a_level(cadence: Cadence) -> None:
    """Exactly, at the least number of probes and at every larger one up to ten times as many."""
    assert levels(cadence)
    for level in levels(cadence):
        n = np.arange(level.probes, 10 * level.probes)
        assert (binom.sf(np.floor(n * level.factor * cadence.limit), n, cadence.limit / 2) <= 1e-3).all()


@pytest.mark.parametrize("cadence", CADENCES, ids=str)
def test_a_window_holds_its_probes_and_the_level_can_be_reached(cadence: Cadence) -> None:
    for level in levels(cadence):
        assert level.short * cadence.probes_per_hour / 60 >= level.probes
        assert level.short < level.long <= 30 * 24 * 60
        assert level.factor * cadence.limit < 1


def test_fast_probing_has_the_usual_windows() -> None:
    found = [(x.factor, x.short, x.long) for x in levels(Cadence(probes_per_hour=6000.0, limit=0.05))]
    assert found == [(14.4, 5, 60), (6.0, 30, 360), (3.0, 120, 1440), (1.0, 360, 4320)]


def test_slow_probing_has_longer_ones() -> None:
    quick, slow = (levels(Cadence(probes_per_hour=rate)) for rate in (240.0, 10.0))
    assert all(a.short <= b.short for a, b in zip(quick, slow, strict=True))
    assert slow[0].short > 5


def test_each_target_is_alerted_on_by_its_own_cadence() -> None:
    text = slo_rules([Cadence(targets=("a", "b")), Cadence(targets=("c",), probes_per_hour=10.0)], "x")
    records, *by_cadence = yaml.safe_load(text)["groups"]
    assert all("record" in rule for rule in records["rules"])
    assert ['{target=~"a|b"}' in rule["expr"] for rule in by_cadence[0]["rules"]] == [True] * 4
    assert ['{target=~"c"}' in rule["expr"] for rule in by_cadence[1]["rules"]] == [True] * 4
    recorded = {rule["record"] for rule in records["rules"]}
    for group in by_cadence:
        for rule in group["rules"]:
            used = {word.split("{")[0] for word in rule["expr"].split() if word.startswith("target:")}
            assert used <= recorded
