"""The fold over looks: distances by hand, what trips the wire, which looks are refused."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import pytest

from monitor.errors import LogFault
from monitor.looks import NO_LOGPROBS, LookRow, Reading, TripwireState, distance, fold_looks, new_tripwire
from probes.statistics.tripwire import Tripwire

NOW = datetime(2026, 1, 1, tzinfo=UTC)
REFERENCE, BASELINE, GAMMA = 120, 30, 1e3


def row(position: int, **given: object) -> LookRow:
    return LookRow(target="prod", epoch=2, key="k", position=position, at=NOW, **given)  # type: ignore[arg-type]


def baseline_rows(reading: Reading | None = None) -> list[LookRow]:
    return [row(i + 1, readings=(reading or {"a": -1.0},) * 2) for i in range(BASELINE)]


def looks(scores: Iterable[float]) -> list[LookRow]:
    rows = baseline_rows()
    return rows + [row(BASELINE + i, score=s) for i, s in enumerate(scores, 1)]


def folded(rows: Iterable[LookRow]) -> TripwireState:
    return fold_looks(rows, reference=REFERENCE, gamma=GAMMA)


def test_a_token_that_one_side_lacks_counts_at_that_sides_smallest() -> None:
    mine, theirs = {"a": -0.5, "b": -3.0}, {"a": -1.0, "c": -2.0}
    # a: |-.5 + 1|; b: |-3 + 2|, for -2 is their smallest; c: |-3 + 2|, for -3 is mine
    assert distance([mine], [theirs]) == pytest.approx((0.5 + 1.0 + 1.0) / 3)
    assert distance([mine, theirs], [theirs, theirs]) == pytest.approx((0.5 + 1.0 + 1.0) / 6), "the mean over prompts"
    assert distance([mine], [mine]) == 0.0
    assert distance([mine], [theirs]) == distance([theirs], [mine])


def test_the_baseline_is_the_mean_of_the_first_quarter() -> None:
    two = [{"a": -1.0, "b": -2.0}, {"a": -3.0, "c": -4.0}]
    rows = [row(i + 1, readings=(two[i % 2],)) for i in range(BASELINE)]
    assert folded(rows[:-1]).baseline == ()
    (found,) = folded(rows).baseline
    assert found == {"a": -2.0, "b": (-2.0 - 4.0) / 2, "c": (-2.0 - 4.0) / 2}


def test_scores_after_the_baseline_are_the_reference_and_later_ones_go_to_the_wire() -> None:
    scores = [float(s) for s in np.random.default_rng(1).random(150)]
    ninety = REFERENCE - BASELINE
    state = folded(looks(scores))
    wire = Tripwire(reference=tuple(scores[:ninety]), gamma=GAMMA)
    for score in scores[ninety:]:
        wire = wire.update(score)
    assert state.log_evidence == wire.log_r
    assert (state.n, state.missing, state.position) == (180, 0, 180)
    early = folded(looks(scores[: ninety - 1]))
    assert (early.wire, early.why) == (None, "119 of 120 reference looks")
    assert early.log_evidence == -math.inf


def test_a_later_look_is_as_likely_the_oddest_as_any_of_the_reference() -> None:
    """Chance 1 in 13 with 12 reference scores; were the baseline's own looks scored too, it would be far higher."""
    rng, runs, largest, unfair = np.random.default_rng(3), 800, 0, 0
    for _ in range(runs):
        values = rng.normal(-2.0, 0.1, (17, 4))
        of = [({"a": float(v[0]), "b": float(v[1])}, {"a": float(v[2]), "c": float(v[3])}) for v in values]
        state = fold_looks([row(i, readings=r) for i, r in enumerate(of[:4], 1)], reference=16, gamma=GAMMA)
        scores = [distance(reading, state.baseline) for reading in of]
        state = state.update(row(5, score=scores[4]))
        assert state.scores == (scores[4],)
        largest += scores[16] > max(scores[4:16])
        unfair += scores[16] > max(scores[:3])
    error = 3 * math.sqrt(1 / 13 * 12 / 13 / runs)
    assert abs(largest / runs - 1 / 13) <= error
    assert unfair / runs > 1 / 4 + 3 * math.sqrt(3 / 16 / runs)


def test_a_shift_trips_the_wire_soon_and_it_falls_back_when_it_ends() -> None:
    rng = np.random.default_rng(5)
    quiet = list(rng.random(REFERENCE - BASELINE + 200))
    assert not folded(looks(quiet)).tripped
    tripped_at = next(k for k in range(1, 40) if folded(looks([*quiet, *[3.0] * k])).tripped)
    assert tripped_at <= 12
    state = folded(looks([*quiet, *[3.0] * 12]))
    assert state.tripped
    assert "more probes are sent" in state.why
    assert state.log_evidence >= math.log(GAMMA)
    assert not folded(looks([*quiet, *[3.0] * 12, *rng.random(300)])).tripped


def test_missing_looks_count_for_nothing() -> None:
    scores = list(np.random.default_rng(9).random(140))
    rows = looks(scores)
    gappy = [*rows[:5], row(0, missing="timeout"), *rows[5:60], row(0, missing="http_500"), *rows[60:]]
    gappy = [replace(r, position=i) for i, r in enumerate(gappy, 1)]
    assert folded(gappy).log_evidence == folded(rows).log_evidence
    assert (folded(gappy).n, folded(gappy).missing) == (170, 2)
    last = folded([*rows, row(171, missing="timeout")])
    assert last.why == "the last look is missing (timeout)"
    assert folded(rows).why == ""


def test_a_server_without_log_probabilities_is_off() -> None:
    state = folded([row(1, missing="timeout"), row(2, missing=NO_LOGPROBS)])
    assert state.off
    assert "gives no top_logprobs" in state.why
    assert not folded([row(1, missing="timeout")]).off
    assert not folded([*baseline_rows(), row(31, missing=NO_LOGPROBS)]).off, "it gave some before"


def test_plain_values() -> None:
    found = folded(looks([0.1] * 95)).to_json()
    assert found["log_threshold"] == pytest.approx(math.log(1e3))
    assert (found["n"], found["missing"], found["off"], found["tripped"], found["why"]) == (125, 0, False, False, "")
    assert folded(()).to_json()["log_evidence"] is None


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([row(1, readings=({"a": -1.0},))] * 2, "look 1 at target prod, epoch 2: look 2 was to follow"),
        ([row(2, missing="timeout")], "look 2 at.*look 1 was to follow"),
        ([row(1, missing="x"), replace(row(2, missing="x"), epoch=3)], "epoch 3.*other looks"),
        ([row(1, missing="x"), replace(row(2, missing="x"), key="l")], "look 2.*other looks"),
        ([row(1, missing="x"), replace(row(2, missing="x"), target="u")], "target u.*other looks"),
        ([row(1)], "no reading for each prompt"),
        ([row(1, readings=({"a": -1.0}, {}))], "no reading for each prompt"),
        ([row(1, readings=({"a": -1.0},) * 2), row(2, readings=({"a": -1.0},))], "look 2.*no reading for each"),
        ([*baseline_rows(), row(31, readings=({"a": -1.0},) * 2)], "look 31.*score None is no distance"),
        ([*baseline_rows(), row(31, score=math.nan)], "score nan is no distance"),
        ([*baseline_rows(), row(31, score=-0.1)], "is no distance"),
        ([*baseline_rows(), row(31, score=math.inf)], "is no distance"),
    ],
)  # fmt: skip
def test_looks_that_do_not_follow_each_other_are_named(rows: list[LookRow], message: str) -> None:
    with pytest.raises(LogFault, match=message):
        folded(rows)


@pytest.mark.parametrize(("reference", "gamma"), [(15, 1e3), (0, 1e3), (120, 1.0), (120, math.nan), (120, math.inf)])
def test_a_wire_that_can_not_be_drawn(reference: int, gamma: float) -> None:
    with pytest.raises(ValueError, match=r"reference|gamma"):
        new_tripwire(reference=reference, gamma=gamma)
