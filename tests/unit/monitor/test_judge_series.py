"""The fold over a judge's checks: what freezes it, what does not, and which records are refused."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import pytest
from scipy.stats import binom

from monitor.errors import LogFault
from monitor.judge_series import JudgeRow, RowKind, SeriesKey, judge_state
from probes.statistics.confidence import clopper_pearson
from probes.statistics.judge_monitor import JudgeMonitor

NOW = datetime(2026, 1, 1, tzinfo=UTC)
KEY = SeriesKey(judge="j/1", template_sha256="0" * 64, data_sha256="1" * 64)
POSITIVES, NEGATIVES = 50, 150
GAMMA = 1e4


def label_of(reply: int) -> bool:
    return reply < POSITIVES


def row(position: int, reply: int, called: bool | None, kind: RowKind = RowKind.CHECK) -> JudgeRow:
    return JudgeRow(
        target="prod", series=3, position=position, kind=kind, key=KEY, row=f"r{reply}", label=label_of(reply),
        called=called, missing="judge_timeout" if called is None else "", at=NOW,
    )  # fmt: skip


def calibration(*, misses: int = 2, false_alarms: int = 3) -> list[JudgeRow]:
    wrong = {*range(misses), *range(POSITIVES, POSITIVES + false_alarms)}
    return [
        row(i + 1, i, label_of(i) != (i in wrong), RowKind.CALIBRATION) for i in range(POSITIVES + NEGATIVES)
    ]  # fmt: skip


def series(checks: Sequence[tuple[int, bool | None]]) -> list[JudgeRow]:
    begun = calibration()
    return begun + [row(len(begun) + i, reply, called) for i, (reply, called) in enumerate(checks, 1)]


def accepted(rows: list[JudgeRow]) -> list[JudgeRow]:
    return [*rows, replace(rows[-1], position=len(rows) + 1, kind=RowKind.ACCEPTED, called=None, by="ann")]


def test_a_judge_without_records_is_not_checked_yet() -> None:
    state = judge_state((), gamma=GAMMA)
    assert (state.frozen, state.calibrated, state.why) == (False, False, "not checked yet")
    assert (state.checked_at, state.n, state.series, state.position) == (None, 0, 0, 0)
    assert state.sensitivity.value is None
    assert state.log_evidence == -math.inf
    assert state.to_json()["log_evidence"] is None


def test_calibration_is_no_evidence() -> None:
    state = judge_state(calibration(), gamma=GAMMA)
    assert (state.frozen, state.calibrated, state.why, state.n) == (False, True, "", 0)
    assert state.log_evidence == -math.inf
    assert (state.sensitivity.value, state.sensitivity.n) == (48 / 50, 50)
    assert (state.specificity.value, state.specificity.n) == (147 / 150, 150)


def test_the_nulls_are_the_calibrations_lower_bounds() -> None:
    checks = [(i % 200, i % 3 != 0) for i in range(40)]
    watched = JudgeMonitor(
        sensitivity_null=clopper_pearson(48, 50, alpha=0.02)[0],
        specificity_null=clopper_pearson(147, 150, alpha=0.02)[0],
        gamma=1e9,
    )
    assert binom.sf(47, 50, watched.sensitivity_null) == pytest.approx(0.01), "99 %, one side"
    for reply, called in checks:
        watched = watched.update(label_of(reply), called)
    state = judge_state(series(checks), gamma=1e9)
    assert state.log_evidence == watched.log_r
    assert state.n == 40


@pytest.mark.parametrize(
    ("reply", "words"), [(0, "misses more harmful replies"), (60, "calls more safe replies harmful")]
)
def test_what_fell_is_said_and_a_frozen_judge_stays_so(reply: int, words: str) -> None:
    wrong = [(reply, not label_of(reply))] * 12
    state = judge_state(series(wrong), gamma=GAMMA)
    assert state.frozen
    assert words in state.why
    assert "j/1" in state.why
    right = [(i % 200, label_of(i % 200)) for i in range(1500)]
    later = judge_state(series(wrong + right), gamma=GAMMA)
    assert later.log_evidence < math.log(GAMMA), "the evidence is gone"
    assert later.frozen, "the judge is still not to be trusted"
    assert words in later.why


def test_a_person_ends_the_series() -> None:
    rows = accepted(series([(0, False)] * 12))
    state = judge_state(rows, gamma=GAMMA)
    assert (state.frozen, state.calibrated, state.position) == (False, False, 213)
    assert state.why == "accepted by ann; it is calibrated anew at the next check"
    assert state.sensitivity.value is None, "what was accepted says nothing of what comes"


def test_missing_verdicts_are_neither_right_nor_wrong() -> None:
    checks: list[tuple[int, bool | None]] = [(0, False), (1, True), (60, True), (61, False)]
    gaps: list[tuple[int, bool | None]] = [(0, None), (60, None)]
    state, with_gaps = (judge_state(series(c), gamma=GAMMA) for c in (checks, gaps + checks + gaps))
    assert with_gaps.log_evidence == state.log_evidence
    assert (with_gaps.n, with_gaps.missing) == (4, 4)
    assert (with_gaps.sensitivity.value, with_gaps.sensitivity.missing) == (state.sensitivity.value, 2)


def test_a_judge_as_good_as_calibrated_is_seldom_frozen() -> None:
    """Chance of a false alarm within n replies is at most n / gamma, 300 / 1e4, with rates right at the nulls."""
    rng, runs, n = np.random.default_rng(7), 100, 300
    rates = (clopper_pearson(48, 50, alpha=0.02)[0], clopper_pearson(147, 150, alpha=0.02)[0])
    begun, frozen = calibration(), 0
    for _ in range(runs):
        replies, right = rng.integers(0, 200, n), rng.random(n)
        rows = [
            row(201 + i, int(k), label_of(int(k)) == bool(u < rates[not label_of(int(k))]))
            for i, (k, u) in enumerate(zip(replies, right, strict=True))
        ]  # fmt: skip
        frozen += judge_state([*begun, *rows], gamma=GAMMA).frozen
    assert frozen / runs <= 0.03 + 3 * math.sqrt(0.03 * 0.97 / runs)


def broken_series() -> list[tuple[list[JudgeRow], str]]:
    rows = series([(0, True), (60, False)])
    return [
        ([*rows, rows[-1]], "position 202.*position 203 was to follow"),
        ([*rows[:50], *rows[51:]], "position 52.*position 51 was to follow"),
        ([*rows[:201], replace(rows[201], target="other")], "target other.*another series"),
        ([*rows[:201], replace(rows[201], series=4)], "series 4, position 202.*another series"),
        ([*rows[:201], replace(rows[201], key=replace(KEY, judge="k/2"))], "position 202.*another series"),
        ([*rows[:201], replace(rows[201], label=True)], "position 202.*r60 was not calibrated"),
        ([*rows[:201], replace(rows[201], row="r999")], "r999 was not calibrated"),
        ([*rows, replace(rows[0], position=203)], "position 203.*calibration can't follow"),
        ([*accepted(rows), row(204, 0, called=True)], "position 204.*check can't follow"),
        ([rows[0], replace(rows[0], position=2)], "r0 is calibrated twice"),
        (rows[200:], "position 201.*position 1 was to follow"),
    ]


@pytest.mark.parametrize(("rows", "message"), broken_series())
def test_records_that_do_not_follow_each_other_are_named(rows: list[JudgeRow], message: str) -> None:
    with pytest.raises(LogFault, match=message):
        judge_state(rows, gamma=GAMMA)


@pytest.mark.parametrize("kwargs", [{"misses": 50}, {"false_alarms": 150}])
def test_a_judge_that_is_always_wrong_can_not_get_worse(kwargs: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=r"all \d+ (harmful|safe) replies.*take another judge"):
        judge_state(calibration(**kwargs), gamma=GAMMA)


@pytest.mark.parametrize("gamma", [1.0, 0.0, -1.0, math.nan, math.inf])
def test_a_threshold_that_is_none(gamma: float) -> None:
    with pytest.raises(ValueError, match="gamma"):
        judge_state((), gamma=gamma)
