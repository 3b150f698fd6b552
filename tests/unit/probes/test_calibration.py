"""What a calibration says, by hand-computed cases, exact bounds and simulation."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from probes.calibration import Calibration, Confusion, confusion_of, corrected_estimate, score_agreement
from probes.result import SafetyEstimate
from probes.statistics.confidence import clopper_pearson

COUNTS = st.integers(0, 40)
CONFUSIONS = st.builds(
    Confusion, found=COUNTS, missed=COUNTS, unscored_positive=COUNTS, false_alarms=COUNTS, passed=COUNTS,
    unscored_negative=COUNTS,
)  # fmt: skip


def test_pairs_are_counted_by_what_people_and_judge_say() -> None:
    pairs = [(True, True)] * 6 + [(True, False)] * 5 + [(True, None)] * 4
    pairs += [(False, True)] * 3 + [(False, False)] * 2 + [(False, None)]
    assert confusion_of(pairs) == Confusion(
        found=6, missed=5, unscored_positive=4, false_alarms=3, passed=2, unscored_negative=1
    )


def test_rates_are_of_scored_replies_and_bounded_exactly() -> None:
    c = Confusion(found=90, missed=10, unscored_positive=3, false_alarms=6, passed=294, unscored_negative=7)
    assert (c.sensitivity().value, c.specificity().value, c.accuracy().value) == (0.9, 0.98, 384 / 400)
    assert (c.sensitivity().lower, c.sensitivity().upper) == clopper_pearson(90, 100)
    assert (c.specificity().n, c.specificity().missing, c.accuracy().missing) == (300, 7, 10)
    assert c.specificity(confidence=0.99).lower == clopper_pearson(294, 300, alpha=1 - 0.99)[0]


def test_one_class_leaves_the_other_rate_unknown() -> None:
    c = Confusion(passed=30, false_alarms=2)
    assert c.sensitivity().value is None
    assert c.specificity().value == 30 / 32
    assert not c.error.informative()
    assert Confusion().kappa().value is None
    assert Confusion(passed=30).kappa().value is None, "nothing but one class on either side"


def test_kappa_is_the_one_computed_by_hand() -> None:
    kappa = Confusion(found=20, missed=5, false_alarms=10, passed=15).kappa()
    assert kappa.value == pytest.approx(0.4)
    assert Confusion(found=30, passed=30).kappa().value == 1.0


@pytest.mark.parametrize("cells", [(0.3, 0.1, 0.1, 0.5), (0.45, 0.05, 0.02, 0.48), (0.08, 0.02, 0.02, 0.88)])
@pytest.mark.parametrize("n", [30, 300])
def test_kappas_interval_covers(cells: tuple[float, float, float, float], n: int) -> None:
    chance = (cells[0] + cells[1]) * (cells[0] + cells[2]) + (cells[2] + cells[3]) * (cells[1] + cells[3])
    truth = (cells[0] + cells[3] - chance) / (1 - chance)
    draws = np.random.default_rng(5).multinomial(n, cells, 1500).tolist()
    covered = 0
    for a, b, c, d in draws:
        kappa = Confusion(found=a, missed=b, false_alarms=c, passed=d).kappa()
        covered += kappa.lower is not None and kappa.upper is not None and kappa.lower <= truth <= kappa.upper
    assert covered / len(draws) >= 0.93


@given(CONFUSIONS)
def test_any_counts_give_ordered_figures_and_survive_json(confusion: Confusion) -> None:
    for rate in (confusion.sensitivity(), confusion.specificity(), confusion.accuracy(), confusion.kappa()):
        if rate.value is not None:
            assert rate.lower is not None
            assert rate.upper is not None
            assert -1 <= rate.lower <= rate.value <= rate.upper <= 1
    made = Calibration(
        judge="j/1", template_sha256="0" * 64, outcome="harm", data="d", data_sha256="1" * 64,
        calibrated_at="2026-01-01T00:00:00+00:00", confusion=confusion, why={"judge_timeout": 2}, agreement=0.5,
    )  # fmt: skip
    written = json.loads(json.dumps(made.to_json()))
    assert Calibration.from_json(written) == made
    assert written["n"] + written["unscored"] == sum(written["confusion"].values())


def test_agreement_of_scores() -> None:
    assert score_agreement([(0.0, 0.0), (0.5, 0.5), (1.0, 1.0)]) == 1.0
    assert score_agreement([(0.0, 1.0), (1.0, 0.0)]) == pytest.approx(-1.0)
    assert score_agreement([(0.0, 0.5), (1.0, 0.5)]) == pytest.approx(0.0)
    assert score_agreement([(0.5, 0.5), (0.5, 0.5)]) is None
    assert score_agreement([(0.5, 0.5)]) is None


def test_agreement_is_the_quadratic_kappa_of_grades() -> None:
    rng = np.random.default_rng(1)
    pairs = [(int(a), int(min(4, max(0, a + b)))) for a, b in zip(rng.integers(0, 5, 80), rng.integers(-1, 2, 80))]  # noqa: B905
    observed = sum((x - y) ** 2 for x, y in pairs) / 80
    expected = sum((x - y) ** 2 for x, _ in pairs for _, y in pairs) / 80**2
    assert score_agreement([(x / 4, y / 4) for x, y in pairs]) == pytest.approx(1 - observed / expected)


def estimate(value: float | None, n: int) -> SafetyEstimate:
    return SafetyEstimate(value=value, lower=value, upper=value, n=n, missing=1, confidence=0.95)


def test_an_asr_is_corrected_by_the_calibration_or_not_at_all() -> None:
    confusion = Confusion(found=90, missed=10, false_alarms=6, passed=294)
    corrected = corrected_estimate(estimate(0.108, 1000), confusion)
    assert corrected.value == pytest.approx(0.1)
    assert (corrected.lower, corrected.upper) == pytest.approx(confusion.error.estimate(108, 1000)[1:])
    assert (corrected.n, corrected.missing) == (1000, 1)
    assert corrected_estimate(estimate(None, 0), confusion).value is None
    assert corrected_estimate(estimate(0.5, 100), Confusion(found=5, missed=5, false_alarms=5, passed=5)).value is None
