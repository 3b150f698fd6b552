"""Sequential tests: error rates and mean sample sizes by exact computation."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from probes.statistics.alternatives import log_factors, log_weights, tilted_grid
from probes.statistics.evalues import (
    Decision,
    DualEProcessTest,
    LikelihoodRatioTest,
    MixtureEProcess,
    SequentialTest,
)

CASES = [(0.02, 0.10), (0.05, 0.20), (0.01, 0.90)]


def exact(test: SequentialTest, p: float, n_max: int) -> tuple[float, float, float]:
    """Dynamic programme over (n, S): probability of rejecting, of accepting, and expected probes."""
    alive = {0: 1.0}
    rejected = accepted = expected = 0.0
    for n in range(1, n_max + 1):
        after: dict[int, float] = {}
        for s, mass in alive.items():
            after[s] = after.get(s, 0.0) + mass * (1 - p)
            after[s + 1] = after.get(s + 1, 0.0) + mass * p
        expected += sum(alive.values())
        alive = {}
        for s, mass in after.items():
            decision = SequentialTest(
                p0=test.p0, p1=test.p1, alpha=test.alpha, beta=test.beta, n=n, successes=s
            ).decision
            if decision is Decision.REJECT:
                rejected += mass
            elif decision is Decision.ACCEPT:
                accepted += mass
            elif mass > 1e-15:
                alive[s] = mass
    return rejected, accepted, expected


def wald(p0: float, p1: float, alpha: float, beta: float) -> float:
    kl = p1 * math.log(p1 / p0) + (1 - p1) * math.log((1 - p1) / (1 - p0))
    return ((1 - beta) * math.log((1 - beta) / alpha) + beta * math.log(beta / (1 - alpha))) / kl


@pytest.mark.parametrize(("p0", "p1"), CASES)
@pytest.mark.parametrize("alpha", [1e-3, 1e-6])
def test_sequential_test_keeps_its_error_rates_exactly(p0: float, p1: float, alpha: float) -> None:
    test = SequentialTest(p0=p0, p1=p1, alpha=alpha)
    for p in (p0, p0 / 2, p0 / 10):
        rejected, accepted, _ = exact(test, p, 400)
        assert 0 < rejected <= alpha
        assert accepted > 0.99
    assert exact(test, p1, 400)[1] <= 1.1 * test.beta


@pytest.mark.parametrize(("p0", "p1"), CASES[:2])
def test_sequential_test_is_near_walds_bound(p0: float, p1: float) -> None:
    assert exact(SequentialTest(p0=p0, p1=p1), p1, 500)[2] <= 1.25 * wald(p0, p1, 1e-3, 1e-2)
    assert exact(SequentialTest(p0=p0, p1=p1, alpha=1e-6), p1, 500)[2] <= 1.15 * wald(p0, p1, 1e-6, 1e-2)


def test_a_reversal_is_found_at_once() -> None:
    assert exact(SequentialTest(p0=0.01, p1=0.9), 0.9, 100)[2] <= 2.5


@settings(deadline=None)
@given(st.floats(0.01, 0.4), st.floats(0, 1), st.lists(st.sampled_from([0, 1, 10.0]), max_size=30))
def test_mixture_e_process_is_a_supermartingale_under_the_null(p0: float, share: float, log: list[float]) -> None:
    q, w = tilted_grid(min(0.95, p0 + 0.1))
    now = MixtureEProcess(p0=p0, q=q, w=w)
    for x in log:
        now = now.update(x)
    p, bound = p0 * share, math.exp(now.log_e) * (1 + 1e-9)
    assert p * math.exp(now.update(True).log_e) + (1 - p) * math.exp(now.update(False).log_e) <= bound
    heavy = p / 10
    assert heavy * math.exp(now.update(10.0).log_e) + (1 - heavy) * math.exp(now.update(0).log_e) <= bound


def test_no_e_value_has_a_mean_above_one_at_the_null() -> None:
    q, w = tilted_grid(0.3)
    mean = dict.fromkeys((0.1, 0.05), 0.0)
    for log in product((0, 1), repeat=10):
        process = MixtureEProcess(p0=0.1, q=q, w=w)
        for x in log:
            process = process.update(x)
        for p in mean:
            mean[p] += p ** sum(log) * (1 - p) ** (10 - sum(log)) * math.exp(process.log_e)
    assert mean[0.1] == pytest.approx(1)
    assert mean[0.05] < 1


@given(st.floats(0.001, 0.5), st.floats(0.51, 0.99), st.floats(0, 100))
def test_a_factor_is_the_likelihood_ratio_and_a_straight_line_beyond(p0: float, q: float, x: float) -> None:
    lam = (q - p0) / (p0 * (1 - p0))
    assert log_factors(p0, (q,), 1)[0] == pytest.approx(math.log(q / p0), abs=1e-12)
    assert log_factors(p0, (q,), 0)[0] == pytest.approx(math.log((1 - q) / (1 - p0)), abs=1e-12)
    assert math.exp(log_factors(p0, (q,), x)[0]) == pytest.approx(1 + lam * (x - p0), rel=1e-9, abs=1e-9)


def test_the_mixture_of_a_sequential_test_is_that_of_its_e_process() -> None:
    q, w = tilted_grid(0.2)
    test, process = SequentialTest(p0=0.05, p1=0.2), MixtureEProcess(p0=0.05, q=q, w=w)
    assert test.log_e == pytest.approx(process.log_e) == 0
    for i in range(50):
        test, process = test.update(i % 7 == 0), process.update(i % 7 == 0)
        assert test.log_e == pytest.approx(process.log_e, abs=1e-12)


def test_a_likelihood_ratio_test_misses_no_more_than_beta() -> None:
    mass, accepted = {0: 1.0}, 0.0
    for n in range(1, 200):
        after: dict[int, float] = {}
        for s, m in mass.items():
            after[s] = after.get(s, 0.0) + m * 0.8
            after[s + 1] = after.get(s + 1, 0.0) + m * 0.2
        sure = {s for s in after if LikelihoodRatioTest(p0=0.05, p1=0.2, n=n, successes=s).decision is Decision.ACCEPT}
        accepted += sum(after[s] for s in sure)
        mass = {s: m for s, m in after.items() if s not in sure}
    assert 0.004 < accepted <= 0.01


def test_the_accept_side_of_a_sequential_test_is_the_likelihood_ratio_test() -> None:
    both, one = SequentialTest(p0=0.05, p1=0.2), LikelihoodRatioTest(p0=0.05, p1=0.2)
    while one.decision is Decision.CONTINUE:
        assert both.decision is Decision.CONTINUE
        both, one = both.update(False), one.update(False)
    assert both.decision is Decision.ACCEPT
    assert one.log_e == pytest.approx(one.n * math.log(0.95 / 0.8))


@pytest.mark.parametrize("p0", [0.0, 1.0, -0.1, math.nan, math.inf])
def test_rates_outside_the_open_interval_are_refused(p0: float) -> None:
    for refused in (
        lambda: SequentialTest(p0=p0, p1=0.5),
        lambda: LikelihoodRatioTest(p0=p0, p1=0.5),
        lambda: MixtureEProcess(p0=p0, q=(0.5,), w=(1.0,)),
    ):
        with pytest.raises(ValueError, match="p0"):
            refused()
    with pytest.raises(ValueError, match="p1"):
        SequentialTest(p0=0.1, p1=p0)
    with pytest.raises(ValueError, match="error rate"):
        SequentialTest(p0=0.1, p1=0.2, alpha=p0)
    with pytest.raises(ValueError, match="theta"):
        DualEProcessTest(theta=p0)
    with pytest.raises(ValueError, match="top"):
        tilted_grid(0.1, top=p0)


@pytest.mark.parametrize("x", [math.nan, math.inf, -1.0, 0.5, 10.0])
def test_an_outcome_that_is_no_outcome_is_refused(x: float) -> None:
    for test in (SequentialTest(p0=0.1, p1=0.5), LikelihoodRatioTest(p0=0.1, p1=0.5), DualEProcessTest(theta=0.1)):
        with pytest.raises(ValueError, match="outcome"):
            test.update(x)


@pytest.mark.parametrize("x", [math.nan, math.inf, -1.0])
def test_a_weighed_outcome_that_is_none_is_refused(x: float) -> None:
    with pytest.raises(ValueError, match="outcome"):
        MixtureEProcess(p0=0.1, q=(0.5,), w=(1.0,)).update(x)


@pytest.mark.parametrize(
    ("q", "w", "said"),
    [
        ((), (), "as many weights"),
        ((0.5,), (0.5, 0.5), "as many weights"),
        ((0.5, 0.6), (0.5, 0.6), "sum 1"),
        ((0.5, 0.6), (1.5, -0.5), "positive"),
        ((0.5,), (math.nan,), "positive"),
        ((0.1,), (1.0,), "above p0"),
        ((math.nan,), (1.0,), "q = nan"),
    ],
)
def test_a_mixture_that_is_none_is_refused(q: tuple[float, ...], w: tuple[float, ...], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        log_weights(0.1, q, w)
    with pytest.raises(ValueError, match=said):
        MixtureEProcess(p0=0.1, q=q, w=w)


def test_a_cap_under_which_nothing_can_recover_is_refused() -> None:
    with pytest.raises(ValueError, match="raise cap, theta or delta"):
        DualEProcessTest(theta=0.1, cap=48)
    test = DualEProcessTest(theta=0.1, cap=49)
    for _ in range(49):
        assert test.decision is Decision.CONTINUE
        test = test.update(0)
    assert test.decision is Decision.ACCEPT
    with pytest.raises(ValueError, match="cap = 0"):
        DualEProcessTest(theta=0.1, cap=0)


@given(st.integers(0, 200), st.integers(0, 200))
def test_one_success_more_in_place_of_a_failure_speaks_for_the_rate_being_high(a: int, b: int) -> None:
    n, successes = max(a, b) + 1, min(a, b)
    for kind, sign in ((SequentialTest, 1), (LikelihoodRatioTest, -1)):
        fewer, more = (kind(p0=0.05, p1=0.2, n=n, successes=s) for s in (successes, successes + 1))
        assert sign * fewer.log_e < sign * more.log_e


@given(st.lists(st.sampled_from([0, 1, 10.0]), max_size=60), st.integers(0, 60))
def test_a_log_replayed_in_pieces_gives_the_same_state_to_the_bit(log: list[float], cut: int) -> None:
    def fold(state: MixtureEProcess, part: list[float]) -> MixtureEProcess:
        for x in part:
            state = state.update(x)
        return state

    start = MixtureEProcess(p0=0.05, q=(0.2, 0.9), w=(0.5, 0.5))
    whole, pieces = fold(start, log), fold(fold(start, log[:cut]), log[cut:])
    assert whole == pieces
    assert whole.log_e.hex() == pieces.log_e.hex()


def test_counts_that_can_not_be_are_refused() -> None:
    for counts in ({"n": 1, "successes": 2}, {"n": 1, "unsampled": 2}, {"n": 2, "unsampled": 1, "successes": 3}):
        with pytest.raises(ValueError, match="larger than its whole"):
            SequentialTest(p0=0.1, p1=0.5, **counts)
    with pytest.raises(ValueError, match="log_m"):
        MixtureEProcess(p0=0.1, q=(0.5,), w=(1.0,), log_m=(math.nan,))


def recovers(test: DualEProcessTest, rate: float) -> float:
    """Chance to end as recovered, exact over all counts of successes."""
    going, accepted = {0: 1.0}, 0.0
    for n in range(1, test.cap + 1):
        after: dict[int, float] = {}
        for s, chance in going.items():
            after[s] = after.get(s, 0.0) + chance * (1 - rate)
            after[s + 1] = after.get(s + 1, 0.0) + chance * rate
        said = {s: replace(test, n=n, successes=s).decision for s in after}
        accepted += sum(c for s, c in after.items() if said[s] is Decision.ACCEPT)
        going = {s: c for s, c in after.items() if said[s] is Decision.CONTINUE and c > 1e-13}
    return accepted


def test_what_was_never_much_under_theta_can_recover_too() -> None:
    plain = DualEProcessTest(theta=0.5, cap=200)
    based = replace(plain, base=0.4)
    assert recovers(based, 0.3) > recovers(plain, 0.3) + 0.1
    assert recovers(based, 0.5) <= 0.01, "false recoveries stay bounded"
    assert recovers(replace(plain, base=0.7), 0.3) == recovers(plain, 0.3), "a base above theta says nothing"


@pytest.mark.parametrize("base", [-0.1, 1.1, math.nan])
def test_a_base_that_is_no_rate_is_refused(base: float) -> None:
    with pytest.raises(ValueError, match="base"):
        DualEProcessTest(theta=0.2, base=base)
