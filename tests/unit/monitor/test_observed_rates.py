"""The tests' rates in a judge's terms, held against the exact chances that follow."""

from __future__ import annotations

import json
import math
import re
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import beta, binom

from monitor.errors import ConfigError
from monitor.observed_rates import calibration_of, observed, observed_rates
from probes.calibration import Calibration, Confusion
from probes.judges.cascade import CascadeJudge
from probes.statistics.judge_error import RoganGladen
from probes.testing import FakeJudge
from tests.fake_site import RATES

GOOD = RoganGladen(positives=100, found=90, negatives=1500, passed=1485)
SHA = "0" * 64


def written(folder: Path, **given: Any) -> Path:  # noqa: ANN401
    fields: dict[str, Any] = {
        "judge": "fake/1", "template_sha256": SHA, "outcome": "harm", "data": "replies", "data_sha256": SHA,
        "calibrated_at": "2026-01-01T00:00:00+00:00", "why": {},
        "confusion": Confusion(found=90, missed=10, passed=1485, false_alarms=15), **given,
    }  # fmt: skip
    path = folder / "calibration.json"
    path.write_text(json.dumps(Calibration(**fields).to_json()))
    return path


def test_rates_by_the_formula() -> None:
    found = observed(RATES, GOOD)
    tail = 0.0005
    se_lower, se_upper = beta.ppf(tail, 90, 11), beta.ppf(1 - tail, 91, 10)
    sp_lower, sp_upper = beta.ppf(tail, 1485, 16), beta.ppf(1 - tail, 1486, 15)
    assert found.p0 == pytest.approx(0.1 * se_upper + 0.9 * (1 - sp_lower))
    assert found.p1 == pytest.approx(0.3 * se_lower + 0.7 * (1 - sp_upper))
    assert found.theta == pytest.approx(0.2 * se_lower + 0.8 * (1 - sp_upper))
    assert found.theta_stratum == pytest.approx(0.25 * se_lower + 0.75 * (1 - sp_upper))
    assert found.canary_margin == pytest.approx(RATES.canary_margin * (se_lower + sp_lower - 1))
    moved = ("p0", "p1", "theta", "theta_stratum", "canary_margin")
    assert replace(found, **{name: getattr(RATES, name) for name in moved}) == RATES, "nothing else changes"


@given(
    se=st.floats(0.01, 0.99), sp=st.floats(0.01, 0.99), theta=st.floats(0, 1), more=st.floats(0, 1),
)  # fmt: skip
def test_no_rate_above_falls_below_the_least(se: float, sp: float, theta: float, more: float) -> None:
    """For any Se and Sp within the bounds; here they are made to hold the true ones."""
    error = RoganGladen(positives=40, found=round(40 * se), negatives=60, passed=round(60 * sp))
    se_lower, se_upper, sp_lower, sp_upper = error.bounds(1e-3)
    true_se, true_sp = min(max(se, se_lower), se_upper), min(max(sp, sp_lower), sp_upper)
    above = theta + (1 - theta) * more
    assert error.least(theta) <= above * true_se + (1 - above) * (1 - true_sp) + 1e-12
    below = theta * more
    assert error.null(theta) >= below * true_se + (1 - below) * (1 - true_sp) - 1e-12


def test_least_fails_as_seldom_as_it_says() -> None:
    """Exact: chance over all calibrations that the least at theta = .3 exceeds the judge's rate, at most delta."""
    se, sp, delta = 0.9, 0.97, 0.05
    rate = 0.3 * se + 0.7 * (1 - sp)
    fails = 0.0
    for found in range(41):
        for passed in range(61):
            error = RoganGladen(positives=40, found=found, negatives=60, passed=passed)
            if error.least(0.3, delta=delta) > rate:
                fails += binom.pmf(found, 40, se) * binom.pmf(passed, 60, sp)
    assert 0 < fails <= delta


@pytest.mark.parametrize("theta", [-0.1, 1.1, math.nan])
def test_a_rate_that_is_none(theta: float) -> None:
    with pytest.raises(ValueError, match="theta"):
        GOOD.least(theta)


def test_a_poor_specificity_is_told_with_the_labels_that_would_do() -> None:
    poor = RoganGladen(positives=100, found=90, negatives=60, passed=57)
    with pytest.raises(ValueError, match=r"p0 = 0\.1 may read as high as .* p1 = 0\.3 as low as") as caught:
        observed(RATES, poor)
    more = re.search(r"; label (\d+) more safe replies, raise p1", str(caught.value))
    assert more
    n = 60 + int(more[1])
    assert 0 < int(more[1]) < 300
    enough = RoganGladen(positives=100, found=90, negatives=n, passed=round(n * 57 / 60))
    assert observed(RATES, enough).p1 > observed(RATES, enough).p0
    short = RoganGladen(positives=100, found=90, negatives=int(n * 0.8), passed=round(int(n * 0.8) * 57 / 60))
    with pytest.raises(ValueError, match="label"):
        observed(RATES, short)


@pytest.mark.parametrize(
    ("counts", "message"),
    [
        ((10, 9, 2000, 1990), r"; label \d\d? more harmful replies, raise p1"),
        ((12, 11, 12, 11), r"; label \d+ more harmful and \d+ more safe replies, raise p1"),
        ((100, 25, 300, 75), "no number of labels helps"),
        ((0, 0, 0, 0), "0 harmful and 0 safe replies: label some of both"),
        ((100, 90, 0, 0), "100 harmful and 0 safe"),
    ],
)
def test_what_would_help(counts: tuple[int, int, int, int], message: str) -> None:
    error = RoganGladen(**dict(zip(("positives", "found", "negatives", "passed"), counts, strict=True)))
    with pytest.raises(ValueError, match=message):
        observed(RATES, error)


def test_a_theta_that_a_harmless_model_may_reach() -> None:
    with pytest.raises(ValueError, match=r"no repair could be confirmed; raise theta"):
        observed(replace(RATES, p0=0.01, p1=0.6, theta=0.02), replace(GOOD, negatives=100, passed=97))


def test_a_targets_rates_by_its_file(tmp_path: Path) -> None:
    path = written(tmp_path)
    assert observed_rates(RATES, path, FakeJudge(), asr_max=0.1, where="targets.prod") == observed(RATES, GOOD)


@pytest.mark.parametrize(("judge", "named"), [({"id": "fake/2"}, "fake/2"), ({"template_sha256": "f" * 64}, "f" * 12)])
def test_a_calibration_of_another_judge_names_both(tmp_path: Path, judge: dict[str, str], named: str) -> None:
    with pytest.raises(ConfigError) as caught:
        observed_rates(RATES, written(tmp_path), FakeJudge(**judge), asr_max=0.1, where="targets.prod")
    said = str(caught.value)
    assert said.startswith("targets.prod.judge_calibration: ")
    assert "calibrates judge fake/1 (template 000000000000)" in said
    assert named in said


def test_a_cascade_takes_its_strong_judges(tmp_path: Path) -> None:
    cascade = CascadeJudge(cheap=FakeJudge(id="cheap"), strong=FakeJudge())
    assert observed_rates(RATES, written(tmp_path), cascade, asr_max=0.1, where="t") == observed(RATES, GOOD)
    with pytest.raises(ConfigError, match="votes: 1"):
        observed_rates(RATES, written(tmp_path), replace(cascade, votes=3), asr_max=0.1, where="t")


def test_gates_must_fit_the_judges_terms(tmp_path: Path) -> None:
    found = observed(RATES, GOOD)
    for asr_max, message in ((found.p0 + 1e-6, "would be a breach"), (found.theta, "")):
        with pytest.raises(ConfigError, match=message or "breach|confirmed"):
            observed_rates(RATES, written(tmp_path), FakeJudge(), asr_max=asr_max, where="targets.prod")
    low = replace(RATES, theta=0.05)
    with pytest.raises(ConfigError, match=r"targets.prod.gates.asr_max .*could never be confirmed"):
        observed_rates(low, written(tmp_path), FakeJudge(), asr_max=0.08, where="targets.prod")


@pytest.mark.parametrize(
    "spoil",
    [
        lambda d: {},
        lambda d: [],
        lambda d: None,
        lambda d: {**d, "confusion": {**d["confusion"], "found": -1}},
        lambda d: {**d, "confusion": {**d["confusion"], "missed": -200}},
        lambda d: {**d, "confusion": {**d["confusion"], "passed": 3.5}},
        lambda d: {**d, "confusion": {**d["confusion"], "passed": math.nan}},
        lambda d: {**d, "confusion": {**d["confusion"], "passed": True}},
        lambda d: {**d, "confusion": {**d["confusion"], "more": 1}},
        lambda d: {**d, "confusion": 7},
    ],
)
def test_a_file_that_is_no_calibration(tmp_path: Path, spoil: Any) -> None:  # noqa: ANN401
    path = written(tmp_path)
    path.write_text(json.dumps(spoil(json.loads(path.read_text()))))
    with pytest.raises(ConfigError, match=r"x: .*calibration.json is no calibration; `alignd judge calibrate --out`"):
        calibration_of(path, FakeJudge(), where="x")


def test_files_that_can_not_be_read(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"can't be read \(No such file"):
        calibration_of(tmp_path / "none.json", FakeJudge(), where="x")
    with pytest.raises(ConfigError, match="is about refusal, not harm"):
        calibration_of(written(tmp_path, outcome="refusal"), FakeJudge(), where="x")
    (tmp_path / "calibration.json").write_bytes(b"\xff[[")
    with pytest.raises(ConfigError, match="is no calibration"):
        calibration_of(tmp_path / "calibration.json", FakeJudge(), where="x")


def test_what_calibrate_writes_is_read(tmp_path: Path) -> None:
    found = calibration_of(written(tmp_path), FakeJudge(), where="x")
    assert asdict(found.confusion.error) == asdict(GOOD)
