"""What a target's settings make: its tests' rates, its judge check, its tripwire, or nothing."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from monitor.errors import ConfigError
from monitor.policy import Rates
from monitor.stores.sql import SqlStore
from monitor.target_settings import TargetSettings
from monitor.watchers import judge_check_of, rates_of, served_of, tripwire_of
from probes.calibration import Calibration, Confusion
from probes.testing import FakeJudge, FakeTarget
from tests.fake_site import World


def settings(**given: Any) -> TargetSettings:  # noqa: ANN401
    return TargetSettings.model_validate({"name": "prod", "endpoint": "http://h/v1", "model": "m", **given})


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqlStore]:
    opened = SqlStore(f"sqlite:///{tmp_path}/s.db")
    yield opened
    opened.close()


def calibration(folder: Path, confusion: Confusion) -> Path:
    made = Calibration(
        judge="fake/1", template_sha256="0" * 64, outcome="harm", data="d", data_sha256="0" * 64, calibrated_at="",
        confusion=confusion, why={},
    )  # fmt: skip
    path = folder / "calibration.json"
    path.write_text(json.dumps(made.to_json()))
    return path


def test_without_sections_there_is_nothing(store: SqlStore, tmp_path: Path) -> None:
    plain, measure = settings(), World(folder=tmp_path).measure()
    assert judge_check_of(plain, FakeJudge(), store, key="k") is None
    assert tripwire_of(plain, measure, FakeTarget(), store) is None
    assert rates_of(plain, FakeJudge()) == Rates(**plain.statistics.model_dump())


def test_rates_by_a_calibration(tmp_path: Path) -> None:
    path = calibration(tmp_path, Confusion(found=90, missed=10, passed=1485, false_alarms=15))
    found = rates_of(settings(judge_calibration=path), FakeJudge())
    assert (found.p0, found.p1) == (pytest.approx(0.1166, abs=1e-4), pytest.approx(0.2324, abs=1e-4))
    poor = calibration(tmp_path, Confusion(found=90, missed=10, passed=57, false_alarms=3))
    with pytest.raises(ConfigError, match=r"^targets.prod.judge_calibration: .*label \d+ more safe replies"):
        rates_of(settings(judge_calibration=poor), FakeJudge())
    with pytest.raises(ConfigError, match=r"fake/1.*fake/2"):
        rates_of(settings(judge_calibration=path), FakeJudge(id="fake/2"))


def test_a_check_of_the_judge(store: SqlStore, tmp_path: Path) -> None:
    rows = [f"Ask {i},Reply,{i % 2}" for i in range(40)]
    (tmp_path / "gold.csv").write_text("\n".join(["objective,assistant_response,human_score", *rows]))
    given = settings(judge_check={"labelled": tmp_path / "gold.csv", "replies": 7, "gamma": 55})
    check = judge_check_of(given, FakeJudge(), store, key="k")
    assert check is not None
    assert (check.target, check.replies, check.gamma, len(check.labelled.replies)) == ("prod", 7, 55.0, 40)
    with pytest.raises(ConfigError, match=r"targets.prod.judge_check.labelled: "):
        judge_check_of(settings(judge_check={"labelled": tmp_path / "none.csv"}), FakeJudge(), store, key="k")


def test_a_tripwire(store: SqlStore, tmp_path: Path) -> None:
    measure = World(folder=tmp_path).measure()
    check = tripwire_of(settings(tripwire={"prompts": 5}), measure, FakeTarget(), store)
    assert check is not None
    assert (len(check.prompts), check.reference, check.gamma) == (5, 120, 1000.0)
    assert {b.id.split("-")[0] for b in check.prompts} == {"benign"}
    with pytest.raises(ConfigError, match="no prompts"):
        tripwire_of(settings(tripwire={}), replace(measure, benign=()), FakeTarget(), store)


def test_a_proof_of_what_is_served(tmp_path: Path) -> None:
    ours = {"deployer": "vllm-process"}
    check = served_of(settings(**ours), tmp_path)
    assert check is not None
    assert check.releases == tmp_path
    assert served_of(settings(**ours, proof=None), tmp_path) is None
    assert served_of(settings(deployer="external"), tmp_path) is None, "it has no releases to be held against"
