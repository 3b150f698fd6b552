"""The law of a confirmation against the test itself, outcome by outcome."""

from __future__ import annotations

import math

import numpy as np
import pytest

from probes.statistics.evalues import Decision, SequentialTest
from probes.statistics.simulation.confirmation import Confirmation, confirmation_law

TEST = Confirmation(p0=0.1, p1=0.3, alpha=1e-2, beta=5e-2, cap=40)


def enumerated(rate: float) -> tuple[list[float], list[float], float]:
    """The same by the library's test, over (n, S)."""
    alive, confirmed, dismissed = {0: 1.0}, [0.0], [0.0]
    for n in range(1, TEST.cap + 1):
        after: dict[int, float] = {}
        for s, mass in alive.items():
            after[s] = after.get(s, 0.0) + mass * (1 - rate)
            after[s + 1] = after.get(s + 1, 0.0) + mass * rate
        confirmed.append(0.0)
        dismissed.append(0.0)
        alive = {}
        for s, mass in after.items():
            said = SequentialTest(
                p0=TEST.p0, p1=TEST.p1, alpha=TEST.alpha, beta=TEST.beta, n=n, successes=s
            ).decision
            confirmed[n] += mass * (said is Decision.REJECT)
            dismissed[n] += mass * (said is Decision.ACCEPT)
            if said is Decision.CONTINUE:
                alive[s] = mass
    return confirmed, dismissed, sum(alive.values())


@pytest.mark.parametrize("rate", [0.02, 0.1, 0.2, 0.3, 0.9])
def test_it_is_the_sequential_test_exactly(rate: float) -> None:
    law = confirmation_law(TEST, rate)
    confirmed, dismissed, undecided = enumerated(rate)
    assert law.confirmed_at == pytest.approx(confirmed, abs=1e-12)
    assert law.dismissed_at == pytest.approx(dismissed, abs=1e-12)
    assert law.undecided == pytest.approx(undecided, abs=1e-12)
    assert law.confirmed + law.dismissed + law.undecided == pytest.approx(1)
    assert rate > TEST.p0 or law.confirmed <= TEST.alpha


def test_draws_follow_the_law() -> None:
    law, runs = confirmation_law(TEST, 0.2), 20_000
    probes, dismissed = law.draw(runs, np.random.default_rng(3))
    assert 0.1 < law.dismissed < 0.9
    assert abs(float(dismissed.mean()) - law.dismissed) <= 3 * math.sqrt(law.dismissed * (1 - law.dismissed) / runs)
    n = np.arange(TEST.cap + 1)
    mean = float((n * (law.confirmed_at + law.dismissed_at)).sum()) + TEST.cap * law.undecided
    assert abs(float(probes.mean()) - mean) <= 3 * float(probes.std()) / math.sqrt(runs)
    late = float((probes == TEST.cap).mean())
    expected = law.undecided + float(law.confirmed_at[-1] + law.dismissed_at[-1])
    assert abs(late - expected) <= 3 * math.sqrt(expected * (1 - expected) / runs)
