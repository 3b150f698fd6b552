"""The law of a confirmation against the test itself, outcome by outcome."""

from __future__ import annotations

import math

import numpy as np
import pytest

from probes.statistics.evalues import Decision, SequentialTest
from probes.statistics.simulation.confirmation import Confirmation, confirmation_law

TEST = Confirmation(p0=0.1, p1=0.3, alpha=1e-2, beta=5e-2, cap=40)


def enumerated(rate: float) -> tuple[list[float], float, float]:
    """The same by the library's test, over (n, S)."""
    alive, confirmed, dismissed = {0: 1.0}, [0.0], 0.0
    for n in range(1, TEST.cap + 1):
        after: dict[int, float] = {}
        for s, mass in alive.items():
            after[s] = after.get(s, 0.0) + mass * (1 - rate)
            after[s + 1] = after.get(s + 1, 0.0) + mass * rate
        confirmed.append(0.0)
        alive = {}
        for s, mass in after.items():
            said = SequentialTest(
                p0=TEST.p0, p1=TEST.p1, alpha=TEST.alpha, beta=TEST.beta, n=n, successes=s
            ).decision
            confirmed[n] += mass * (said is Decision.REJECT)
            dismissed += mass * (said is Decision.ACCEPT)
            if said is Decision.CONTINUE:
                alive[s] = mass
    return confirmed, dismissed, sum(alive.values())


@pytest.mark.parametrize("rate", [0.02, 0.1, 0.2, 0.3, 0.9])
def test_it_is_the_sequential_test_exactly(rate: float) -> None:
    law = confirmation_law(TEST, rate)
    confirmed, dismissed, undecided = enumerated(rate)
    assert law.confirmed_at == pytest.approx(confirmed[: len(law.confirmed_at)], abs=1e-12)
    assert law.dismissed == pytest.approx(dismissed, abs=1e-12)
    assert law.undecided == pytest.approx(undecided, abs=1e-12)
    assert law.confirmed + law.dismissed + law.undecided == pytest.approx(1)
    assert rate > TEST.p0 or law.confirmed <= TEST.alpha


def test_draws_follow_the_law_and_what_is_not_confirmed_takes_for_ever() -> None:
    law = confirmation_law(TEST, 0.2)
    drawn = law.draw(20_000, np.random.default_rng(3))
    share = float(np.isfinite(drawn).mean())
    assert 0 < law.confirmed < 1
    assert abs(share - law.confirmed) <= 3 * math.sqrt(law.confirmed * (1 - law.confirmed) / 20_000)
    n = np.arange(len(law.confirmed_at))
    mean = float((n * law.confirmed_at).sum() / law.confirmed)
    spread = math.sqrt(float(((n - mean) ** 2 * law.confirmed_at).sum() / law.confirmed))
    assert abs(float(drawn[np.isfinite(drawn)].mean()) - mean) <= 3 * spread / math.sqrt(share * 20_000)
    assert drawn.min() >= 1
