"""The arithmetic of the statistics' benchmark, against plain enumeration, simulation and the library."""

from __future__ import annotations

import ast
import itertools
import math
import sys
from pathlib import Path

import numpy as np
import pytest

from probes.statistics.confidence import SubBernoulliConfidenceSequence
from probes.statistics.detectors import StratifiedEDetector
from probes.statistics.evalues import Decision, SequentialTest
from probes.statistics.judge_error import RoganGladen
from tests.benchmarks import (
    detection,
    detection_delays,
    detection_exact,
    detection_intervals,
    detection_replay,
    detection_river,
    detection_streams,
)
from tests.benchmarks.detection_controls import bursts
from tests.benchmarks.detection_judge import SENSITIVITY, SPECIFICITY, coverage
from tests.benchmarks.detection_months import confirmed
from tests.benchmarks.detection_peers import Seen, beats, ours, seen, wilson_alarms

TEST = SequentialTest(p0=0.2, p1=0.6, alpha=0.1, beta=0.2)


@pytest.mark.parametrize("rate", [0.2, 0.6, 0.9])
def test_the_law_of_the_exit_is_that_of_all_streams_one_by_one(rate: float) -> None:
    length = 12
    rejected = accepted = probes = 0.0
    for stream in itertools.product((False, True), repeat=length):
        mass = math.prod(rate if x else 1 - rate for x in stream)
        test = TEST
        for x in stream:
            if test.decision is Decision.CONTINUE:
                test = test.update(x)
        probes += mass * test.n
        rejected += mass * (test.decision is Decision.REJECT)
        accepted += mass * (test.decision is Decision.ACCEPT)
    found = detection_exact.exits(detection_exact.decisions(TEST, length), rate)
    assert found.above == pytest.approx(rejected)
    assert found.below == pytest.approx(accepted)
    assert found.still == pytest.approx(1 - rejected - accepted)
    assert found.probes == pytest.approx(probes)


def test_rates_of_a_schedule_are_used_in_their_order() -> None:
    corridor = detection_exact.Corridor(lower=(-1, -1), upper=(1, 2))
    found = detection_exact.exits(corridor, [0.25, 0.75])
    assert (found.above, found.below, found.still, found.probes) == (0.25, 0.0, 0.75, 1.75)


def test_the_corridor_is_where_the_test_goes_on() -> None:
    found = detection_exact.decisions(TEST, 40)
    for n in range(1, 41):
        for s in range(n + 1):
            inside = found.lower[n - 1] < s < found.upper[n - 1]
            said = SequentialTest(p0=0.2, p1=0.6, alpha=0.1, beta=0.2, n=n, successes=s).decision
            assert inside is (said is Decision.CONTINUE)


def test_walds_bounds_are_the_published_ones() -> None:
    bounds = [detection_exact.wald_probes(c.p0, c.p1, 1e-3, 1e-2) for c in detection_streams.CASES]
    assert bounds == pytest.approx([80.46, 48.52, 1.78], abs=0.01)
    healthy = [detection_exact.wald_healthy(c.p0, c.p1, 1e-3, 1e-2) for c in detection_streams.CASES]
    assert healthy == pytest.approx([89.59, 48.89, 2.06], abs=0.01)


@pytest.mark.parametrize("rate", [0.05, 0.2])
def test_the_chain_of_the_cusum_is_its_simulation(rate: float) -> None:
    cusum = detection_exact.optimal_cusum(0.05, 0.20, 200)
    assert cusum.probes(0.05) == pytest.approx(200)
    rng = np.random.default_rng(3)
    lengths = []
    for _ in range(1500):
        height = cusum.height - bool(rng.random() < cusum.low)
        state = n = 0
        while state < height:
            state = state + cusum.jump - 1 if rng.random() < rate else max(state - 1, 0)
            n += 1
        lengths.append(n)
    assert abs(np.mean(lengths) - cusum.probes(rate)) <= 3 * np.std(lengths) / len(lengths) ** 0.5


def test_runs_side_by_side_end_where_the_library_s_detector_does() -> None:
    case = detection_streams.CASES[0]
    assert detection_streams.largest_gap(case, 5, 0.1, 300, 1) < 1e-9
    detector, n = StratifiedEDetector(p0=case.p0, p1=case.p1, gamma_breach=1e5), 0
    while detector.log_r < math.log(1e5):
        detector, n = detector.update(str(n % 2), n % 2 == 0), n + 1
    sure = np.tile([1.0, 0.0], (7, 1))
    rng = np.random.default_rng(0)
    lengths = detection_streams.run_lengths(case, sure, 1e5, detection_streams.round_robin, rng)
    assert lengths.tolist() == [n] * 7
    cut = detection_streams.run_lengths(case, sure, 1e5, detection_streams.round_robin, rng, most=2)
    assert cut.tolist() == [2] * 7


def test_the_compensated_length_has_the_mean_of_the_plain_one_and_less_spread() -> None:
    case, rng = detection_streams.CASES[1], np.random.default_rng(8)
    for strata, policy in ((1, detection_streams.round_robin), (5, detection_streams.by_lot)):
        plain, sure = detection_streams.runs_to_alarm(case, np.full((1500, strata), case.p0), 100, policy, rng)
        assert sure.min() >= 100 * (1 - 1e-9)
        assert sure.std() < plain.std() / 2
        assert abs((plain - sure).mean()) <= 3 * (plain - sure).std() / 1500**0.5
        assert strata > 1 or sure.mean() == pytest.approx(100, rel=1e-3)


def test_a_count_that_the_martingale_contradicts_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    said = np.array([900, 1000, 1100]), np.array([2000.0, 2001.0, 2002.0])
    monkeypatch.setattr(detection_delays, "runs_to_alarm", lambda *_: said)
    with pytest.raises(SystemExit, match="martingale"):
        detection_delays.false_alarms(runs=3)


def test_another_recursion_than_the_library_s_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(detection_streams, "adaptive", detection_streams.round_robin)
    with pytest.raises(SystemExit, match="not the library's"):
        detection_streams.largest_gap(detection_streams.CASES[0], 5, 0.1, 50, 1)


def test_a_survey_in_turn_asks_each_stratum_once_in_turn() -> None:
    state = detection_streams.Runs(detection_streams.CASES[0], 2, 4, 1e6)
    chosen = []
    for _ in range(8):
        chosen.append(detection_streams.adaptive(state, np.array([0.9, 0.1])))
        state.update(chosen[-1], np.array([False, False]))
    assert [c.tolist() for c in chosen] == [[i % 4] * 2 for i in range(8)]
    state.update(np.array([2, 2]), np.array([True, True]))
    assert detection_streams.adaptive(state, np.array([0.9, 0.1])).tolist() == [2, 0]
    assert detection_streams.adaptive(state, np.array([0.1, 0.1])).tolist() == [0, 1], "the hunt dealt nothing"


@pytest.mark.parametrize("target", [0.005, 0.3])
def test_the_corridor_of_the_gauge_is_where_the_library_s_interval_holds_the_target(target: float) -> None:
    found = detection_intervals.corridor(np.full(30, target))
    for n in (1, 13, 30):
        for s in range(n + 1):
            low, high = SubBernoulliConfidenceSequence(alpha=0.05, n=n, total=float(s)).interval
            assert (low <= target <= high) is (found.lower[n - 1] < s < found.upper[n - 1])


def test_wilson_s_interval_and_its_corridor() -> None:
    low, high = detection_intervals.wilson(np.array([0.0, 5.0]), 20)
    assert low == pytest.approx([0, 0.11186], abs=1e-5)
    assert high == pytest.approx([0.16113, 0.46870], abs=1e-5)
    found = detection_intervals.wilson_corridor(np.full(20, 0.2))
    for n in range(1, 21):
        low, high = detection_intervals.wilson(np.arange(n + 1, dtype=np.float64), n)
        inside = [found.lower[n - 1] < s < found.upper[n - 1] for s in range(n + 1)]
        assert inside == ((low <= 0.2) & (high >= 0.2)).tolist()


def test_schedules_keep_to_rates() -> None:
    for rates in detection_intervals.schedules(100).values():
        assert len(rates) == 100
        assert 0 < min(rates) <= max(rates) < 1


def test_coverage_is_that_of_drawn_counts() -> None:
    exact, naive, fixed = coverage(0.2, 30, 40, probes=30)
    assert naive < 1
    assert fixed < exact
    rng, covered, draws = np.random.default_rng(5), 0, 3000
    for _ in range(draws):
        found, passed = int(rng.binomial(30, SENSITIVITY)), int(rng.binomial(40, SPECIFICITY))
        harmful = int(rng.binomial(30, 0.2 * SENSITIVITY + 0.8 * (1 - SPECIFICITY)))
        _, low, high = RoganGladen(positives=30, found=found, negatives=40, passed=passed).estimate(harmful, 30)
        covered += low <= 0.2 <= high
    assert abs(covered / draws - exact) <= 3 * math.sqrt(exact * (1 - exact) / draws)


class EveryThird:
    """A detector in river's shape."""

    def __init__(self) -> None:
        self.seen: list[int] = []
        self.drift_detected = False

    def update(self, x: int) -> None:
        self.seen.append(x)
        self.drift_detected = sum(self.seen) == 3


def test_a_peer_starts_anew_after_each_signal_and_with_each_stream() -> None:
    assert detection_river.alarms(EveryThird, [[1] * 7, [0, 1, 0, 1, 0, 1, 1], []]) == [[3, 6], [6], []]


def test_the_peer_s_script_needs_nothing_of_ours_to_start() -> None:
    tree = ast.parse(Path(detection_river.__file__).read_text())
    imported = {node.module for node in tree.body if isinstance(node, ast.ImportFrom)}
    imported |= {name.name for node in tree.body if isinstance(node, ast.Import) for name in node.names}
    assert imported <= sys.stdlib_module_names | {"collections.abc"}


def test_alarms_before_the_change_are_false_and_silence_counts_as_the_end() -> None:
    found = seen([[10, 150, 160], [], [100]], healthy=100, drifted=80)
    assert found == Seen(false=2 / 300 * 1e4, delay=(50 + 80 + 80) / 3, silent=2)
    assert str(found) == "66.67 false/1e4, 70.0 probes, 2 silent"


def test_to_beat_a_peer_both_figures_must_be_better() -> None:
    peer, none = Seen(false=1.0, delay=50.0, silent=0), Seen(false=0.0, delay=50.0, silent=0)
    assert beats(Seen(false=0.5, delay=49.0, silent=0), peer)
    assert not beats(Seen(false=1.0, delay=49.0, silent=0), peer)
    assert not beats(Seen(false=0.5, delay=50.0, silent=0), peer)
    assert beats(Seen(false=0.0, delay=49.0, silent=0), none)
    assert not beats(Seen(false=0.5, delay=1.0, silent=0), none)


def test_our_alarms_start_the_detector_anew() -> None:
    given = np.ones((2, 12), dtype=np.uint8)
    given[1] = 0
    first, second = ours(given, 1e4)
    assert second == []
    assert len(first) > 1
    assert np.diff([0, *first]).tolist() == [first[0]] * len(first)


def test_fixed_batches_alarm_at_their_ends() -> None:
    given = np.zeros((3, 1000), dtype=np.uint8)
    given[:, 500:] = 1
    for at in wilson_alarms(given, 100):
        assert len(at) in (5, 6)
        assert np.diff(at).tolist() == [100] * (len(at) - 1)
        assert 500 < at[0] <= 600
    assert wilson_alarms(given[:, :500], 100) == [[], [], []]


def test_a_log_that_lost_its_end_is_gone_on_with_to_the_same_bit(tmp_path: Path) -> None:
    whole = detection_replay.run(tmp_path / "whole", 60)
    torn = tmp_path / "torn"
    detection_replay.run(torn, 60)
    torn.write_bytes(torn.read_bytes()[:-1000])
    assert not torn.read_bytes().endswith(b"\n")
    assert len(detection_replay.read(torn)) < len(detection_replay.read(tmp_path / "whole")) == 60
    assert detection_replay.run(torn, 60).digest == whole.digest
    assert torn.read_bytes() == (tmp_path / "whole").read_bytes()
    assert detection_replay.run(tmp_path / "short", 59).digest != whole.digest


def test_the_confirm_stage_rejects_what_drifted_and_the_control_false_alarms() -> None:
    sure, n = confirmed(np.random.default_rng(0), 0.5)
    assert sure
    assert n < 20
    rate, error = bursts(500)
    assert rate - 3 * error > 1e-3


def test_a_part_that_did_not_run_reaches_nothing_and_misses_nothing() -> None:
    found = detection.figures({"strata": {"one_stratum_probes": [40.0, 101.0, 200.0], "round_robin_ratio_min": 4.0}})
    words = {name: (measured, word) for name, _, measured, word in detection.bars(found)}
    assert set(words) == set(found)
    assert words.pop("one_stratum_probes") == ("40 / 101 / 200", "MISSED")
    assert words.pop("round_robin_ratio_min") == ("4", "reached")
    assert set(words.values()) == {("", "not run")}


def test_a_figure_that_is_no_number_reaches_no_bar() -> None:
    found = dict.fromkeys(detection.figures({}), math.nan) | {"one_stratum_probes": [math.nan] * 3}
    words = {name: word for name, _, _, word in detection.bars(found)}
    shown = {"peers_beaten", "peers_compared", "tuned_peers_beaten", "tuned_peers_compared", "negative_controls"}
    assert {name for name, word in words.items() if word == "shown"} == shown
    assert {name for name, word in words.items() if word == "reached"} <= {"replay_identical"}
