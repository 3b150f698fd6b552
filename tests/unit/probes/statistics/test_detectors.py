"""E-detectors: mean growth by hand, false alarms and names by seeded simulation, replay to the bit."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from probes.statistics.detectors import ShiryaevRobertsEDetector, StratifiedEDetector
from probes.statistics.logs import expit, logit


@settings(deadline=None)
@given(
    st.lists(st.sampled_from([0, 0, 0, 0.5, 1, 10.0]), max_size=60),
    st.floats(0.01, 0.3),
    st.floats(0, 1),
    st.sampled_from([None, 20.0, 1e3]),
    st.sampled_from([0.5, 1, 10.0]),
)
def test_a_probe_raises_the_evidence_by_at_most_one_in_mean(
    outcomes: list[float], p0: float, share: float, gamma: float | None, x: float
) -> None:
    """For every two-point law of mean at most p0, with the evidence counted as gamma once it is there."""
    now, log_gamma = ShiryaevRobertsEDetector.tilted(p0, p0 + 0.2, gamma=gamma), math.log(gamma or math.inf)
    for outcome in outcomes:
        after = now.update(outcome)
        now = after if after.log_r < log_gamma else now

    def evidence(x: float) -> float:
        return math.exp(min(now.update(x).log_r, log_gamma))

    p = p0 * share / x
    assert p * evidence(x) + (1 - p) * evidence(0) <= (math.exp(now.log_r) + 1) * (1 + 1e-9)


def test_at_the_null_the_mean_is_one_higher_and_nothing_is_lost_above_the_threshold() -> None:
    now = ShiryaevRobertsEDetector.tilted(0.1, 0.4, gamma=50.0).update(1)
    assert math.exp(now.update(1).log_r) > 50.0
    assert 0.1 * 50.0 + 0.9 * math.exp(now.update(0).log_r) == pytest.approx(math.exp(now.log_r) + 1, rel=1e-12)
    aimless = ShiryaevRobertsEDetector.tilted(0.1, 0.4).update(1)
    assert aimless.log_r == now.log_r
    assert aimless.update(0).log_r < now.update(0).log_r


def test_the_evidence_is_that_of_the_recursion_in_plain_numbers() -> None:
    detector, m = ShiryaevRobertsEDetector(p0=0.1, q=(0.3, 0.9), w=(0.75, 0.25)), [0.0, 0.0]
    assert detector.log_r == detector.update(0).log_r == -math.inf
    for x in (0, 1, 0, 0, 1, 1, 0):
        detector = detector.update(x)
        m = [mj * (q / 0.1 if x else (1 - q) / 0.9) + x / 0.1 for mj, q in zip(m, (0.3, 0.9), strict=True)]
        assert (math.exp(detector.log_r) if m[0] else 0) == pytest.approx(0.75 * m[0] + 0.25 * m[1], rel=1e-12)


def test_long_runs_neither_overflow_nor_vanish() -> None:
    detector = StratifiedEDetector(p0=0.02, p1=0.1, gamma_breach=1e6).update("a", 1)
    for x, n in ((0, 20_000), (1, 3_000)):
        for _ in range(n):
            detector = detector.update("a", x)
        assert math.isfinite(detector.log_r)
        assert detector.log_r > 1_000 if x else detector.log_r < -1_000
    faint = ShiryaevRobertsEDetector(p0=1e-7, q=(0.1,), w=(1.0,), gamma=1e6, log_m=(-800.0,))
    assert math.exp(faint.update(0).log_r) == pytest.approx((1e7 - 1e6) * 1e-7)


@given(st.lists(st.booleans(), max_size=40))
def test_the_evidence_is_shiryaev_and_roberts_above_the_level_they_fall_to(outcomes: list[bool]) -> None:
    p0, q = 0.1, 0.3
    level = (1 - q) / (q - p0)
    detector, theirs = ShiryaevRobertsEDetector(p0=p0, q=(q,), w=(1.0,)), level
    for x in outcomes:
        detector, theirs = detector.update(x), (theirs + 1) * (q / p0 if x else (1 - q) / (1 - p0))
    assert math.exp(detector.log_r) == pytest.approx(theirs - level, rel=1e-9, abs=1e-9 * theirs)


@given(st.lists(st.booleans(), min_size=1, max_size=40), st.data())
def test_one_more_success_never_lowers_the_evidence(outcomes: list[bool], data: st.DataObject) -> None:
    changed = data.draw(st.integers(0, len(outcomes) - 1))
    logs = []
    for x in (False, True):
        detector = ShiryaevRobertsEDetector.tilted(0.05, 0.2, gamma=1e3)
        for i, outcome in enumerate(outcomes):
            after = detector.update(x if i == changed else outcome)
            detector = after if detector.log_r < math.log(1e3) else detector
        logs.append(min(detector.log_r, math.log(1e3)))
    assert logs[0] <= logs[1]


@settings(deadline=None)
@given(st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from([0, 1, 10.0])), max_size=80), st.data())
def test_a_log_replayed_in_pieces_gives_the_same_state_to_the_bit(
    log: list[tuple[str, float]], data: st.DataObject
) -> None:
    def fold(state: StratifiedEDetector, part: list[tuple[str, float]]) -> StratifiedEDetector:
        for stratum, x in part:
            state = state.update(stratum, x)
        return state

    start = StratifiedEDetector(p0=0.05, p1=0.2, nulls={"b": 0.4}, gamma_warn=20, gamma_breach=1e3)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(log)), max_size=5)))
    pieces = start
    for a, b in pairwise([0, *cuts, len(log)]):
        pieces = fold(pieces, log[a:b])
    whole = fold(start, log)
    assert pieces == whole
    assert pieces.log_r.hex() == whole.log_r.hex()
    assert pieces.n == len(log)


def test_levels_follow_the_thresholds_and_strata_stay_apart() -> None:
    detector = StratifiedEDetector(p0=0.05, p1=0.2, gamma_warn=1e4, gamma_breach=1e6)
    levels = [detector.level]
    assert detector.log_r == detector.log_r_of("a") == -math.inf
    for _ in range(7):
        detector = detector.update("a", 1)
        levels.append(detector.level)
    assert levels == sorted(levels, key=["", "warn", "breach"].index)
    assert set(levels) == {"", "warn", "breach"}
    alone = detector.log_r
    detector = detector.update("b", 0)
    assert detector.log_r_of("a") == alone == detector.log_r
    detector = detector.update("b", 1)
    assert detector.log_r == pytest.approx(math.log(math.exp(alone) + 1 / 0.05))
    assert StratifiedEDetector(p0=0.05, p1=0.2).update("a", 1).level == ""


def test_e_bh_names_what_drifted_and_ranks_it() -> None:
    detector = StratifiedEDetector(p0=0.05, p1=0.2)
    for i in range(20):
        detector = detector.update("much", 1).update("quiet", 0)
        detector = detector.update("some", 1) if i % 2 else detector
    assert detector.e_bh(1e4) == ("much", "some")
    assert detector.e_bh(math.exp(detector.log_r_of("much")) * 0.999) == ("much",)
    assert detector.e_bh(math.exp(detector.log_r_of("much")) * 2.1) == ()
    # two strata a little below gamma are named together, for each is above gamma / 2
    level = math.exp(detector.log_r_of("much"))
    twin = StratifiedEDetector(p0=0.05, p1=0.2, strata=dict.fromkeys("ba", detector.strata["much"]), n=80)
    assert twin.e_bh(1.9 * level) == ("a", "b")
    assert twin.e_bh(2.1 * level) == ()
    with pytest.raises(ValueError, match="at most gamma_breach"):
        StratifiedEDetector(p0=0.05, p1=0.2, gamma_breach=1e4).e_bh(1e5)


def test_a_null_of_its_own_moves_the_smallest_alternative_up() -> None:
    detector = StratifiedEDetector(p0=0.02, p1=0.1, nulls={"same": 0.02, "near": 0.09, "high": 0.4, "top": 0.95})
    for name in ("unnamed", *detector.nulls):
        detector = detector.update(name, 0)
    smallest = {name: d.q[0] for name, d in detector.strata.items()}
    assert smallest["unnamed"] == smallest["same"] == 0.1
    assert logit(smallest["near"]) - logit(0.09) == pytest.approx(math.log(2))
    assert smallest["high"] == pytest.approx(expit(logit(0.4) + math.log(2)))
    assert detector.strata["top"].q[0] > detector.strata["top"].p0 == 0.95
    close = StratifiedEDetector(p0=0.3, p1=0.35, nulls={"own": 0.3}).update("own", 1)
    assert close.strata["own"].q[0] == pytest.approx(0.35)


BAD_RATES = (0.0, 1.0, -0.1, math.nan, math.inf)


@pytest.mark.parametrize("rate", BAD_RATES)
def test_rates_outside_the_open_interval_are_refused(rate: float) -> None:
    with pytest.raises(ValueError, match="p0"):
        ShiryaevRobertsEDetector.tilted(rate, 0.5)
    with pytest.raises(ValueError, match="p1"):
        StratifiedEDetector(p0=0.1, p1=rate)
    with pytest.raises(ValueError, match="null of jailbreak"):
        StratifiedEDetector(p0=0.1, p1=0.5, nulls={"jailbreak": rate})


@pytest.mark.parametrize("gamma", [math.inf, math.nan, 1.0, 0.0, -5.0])
def test_thresholds_without_meaning_or_out_of_reach_are_refused(gamma: float) -> None:
    with pytest.raises(ValueError, match="gamma_warn"):
        StratifiedEDetector(p0=0.1, p1=0.5, gamma_warn=gamma)
    with pytest.raises(ValueError, match="gamma_breach"):
        StratifiedEDetector(p0=0.1, p1=0.5, gamma_breach=gamma)
    with pytest.raises(ValueError, match="gamma"):
        ShiryaevRobertsEDetector.tilted(0.1, 0.5, gamma=gamma)
    with pytest.raises(ValueError, match="gamma"):
        StratifiedEDetector(p0=0.1, p1=0.5).e_bh(gamma)


def test_a_warning_above_the_breach_and_rates_in_the_wrong_order_are_refused() -> None:
    with pytest.raises(ValueError, match="at most gamma_breach"):
        StratifiedEDetector(p0=0.1, p1=0.5, gamma_warn=1e6, gamma_breach=1e4)
    with pytest.raises(ValueError, match="above p0"):
        StratifiedEDetector(p0=0.5, p1=0.5)
    with pytest.raises(ValueError, match="above p0"):
        ShiryaevRobertsEDetector.tilted(0.5, 0.4)


@pytest.mark.parametrize("x", [math.nan, math.inf, -1.0])
def test_an_outcome_that_is_no_outcome_is_refused(x: float) -> None:
    with pytest.raises(ValueError, match="outcome"):
        StratifiedEDetector(p0=0.1, p1=0.5).update("a", x)


@pytest.mark.parametrize("log_m", [(0.0,), (0.0, math.nan, 0.0), (math.inf, 0.0, 0.0)])
def test_a_stored_state_that_can_not_be_is_refused(log_m: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match="log_m"):
        ShiryaevRobertsEDetector(p0=0.1, q=(0.2, 0.5, 0.9), w=(0.5, 0.25, 0.25), log_m=log_m)
