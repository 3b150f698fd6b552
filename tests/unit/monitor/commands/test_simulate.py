"""``alignd simulate``, as it is called."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest

from monitor import cli
from monitor.commands.simulation_svg import Curve, duration, simulation_svg
from probes.statistics.judge_error import RoganGladen
from tests.unit.monitor.command_line import Alignd, called_in


@pytest.fixture
def alignd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Alignd:
    return called_in(tmp_path, monkeypatch, capsys, columns=300)


@pytest.fixture
def simulate(alignd: Alignd) -> Alignd:
    assert alignd("init")[0] == 0

    def call(*words: str) -> tuple[int, str, str]:
        return alignd("simulate", *words, "--runs", "60")

    return call


def figures(simulate: Alignd, *words: str) -> dict[str, Any]:
    code, out, err = simulate(*words, "--json")
    assert (code, err) == (0, "")
    found: dict[str, Any] = json.loads(out)
    return found


def settings(tmp_path: Path, section: str, **values: float) -> None:
    """Put these values into a section that the example has."""
    file = tmp_path / "alignd.yaml"
    lines = "".join(f"      {name}: {value}\n" for name, value in values.items())
    kept = [line for line in file.read_text().splitlines(keepends=True) if line.strip().split(":")[0] not in values]
    changed = re.sub(rf"^    {section}:.*\n", f"    {section}:\n{lines}", "".join(kept), flags=re.MULTILINE)
    assert lines in changed
    file.write_text(changed)


def test_it_tells_what_to_expect_and_draws_it(simulate: Alignd, tmp_path: Path) -> None:
    code, out, err = simulate("--drift", ".02:.30", "--out", "plots/a.svg")
    assert (code, err) == (0, "")
    words = ("the ASR went from 0.02 to 0.3", "Half of 60 such drifts", "nine in ten", "within a day", "confirmed",
             "probes a day on a healthy target", "by theorem", "measured at an ASR of 0.02")  # fmt: skip
    assert [w for w in words if w not in out] == []
    drawn = (tmp_path / "plots/a.svg").read_text()
    written = "".join(ET.fromstring(drawn).itertext())
    assert [w for w in ("time since the drift", "50 % confirmed in", "100 %") if w not in written] == []


def test_json_holds_the_figures(simulate: Alignd) -> None:
    found = figures(simulate, "--drift", ".02:.95@1/42")
    assert (found["strata"], found["strata_drifted"], found["runs"]) == (42, 1, 60)
    assert found["warn"]["probes_median"] <= found["breach"]["probes_median"] <= found["confirmed"]["probes_median"]
    assert found["breach"]["probes_median"] <= found["breach"]["probes_90"]
    assert found["breach"]["share_within_a_day"] == 1
    assert sum(found["confirmation"].values()) == pytest.approx(1)
    alarms, fixes = found["false_breaches_per_year"], found["false_remediations_per_year"]
    assert alarms["at_most"] == pytest.approx(found["probes_per_day_idle"] * 365.25 / 1e6)
    assert fixes["at_most"] == pytest.approx(alarms["at_most"] * 1e-3)
    assert alarms["measured"] < alarms["at_most"]
    assert found == figures(simulate, "--drift", ".02:.95@1/42", "--seed", "0"), "the same seed, the same figures"
    assert found["stratum_p0"] == pytest.approx(1 - (0.01 / 42) ** (1 / 23)), "23 clean probes bound a stratum so"
    known = figures(simulate, "--drift", ".02:.95@1/42", "--stratum-p0", ".1")
    assert known["stratum_p0"] == 0.1
    assert known["breach"]["probes_90"] < found["breach"]["probes_90"]


@pytest.mark.parametrize("drift", ["none", "none@5"])
def test_without_a_drift_there_are_false_alarms_alone(simulate: Alignd, drift: str) -> None:
    code, out, _ = simulate("--drift", drift)
    assert code == 0
    worst = "0.1." if drift == "none" else "0.1 in each of 5 strata."
    assert f"nothing drifts, the ASR is {worst}" in out
    assert "Half of" not in out
    found = figures(simulate, "--drift", drift, "--stratum-p0", ".1")
    assert "breach" not in found
    alarms = found["false_breaches_per_year"]
    assert 0.1 < alarms["measured"] / alarms["at_most"] < 1 + 3 * alarms["standard_error"] / alarms["at_most"]
    code, _, err = simulate("--drift", drift, "--out", "a.svg")
    assert code == cli.USAGE
    assert "nothing is there to plot" in err


def test_settings_of_the_site_are_what_counts(simulate: Alignd, tmp_path: Path) -> None:
    before = figures(simulate, "--drift", ".02:.5")
    settings(tmp_path, "schedule", interval_seconds=600, batch=2)
    settings(tmp_path, "statistics", gamma_breach=1e9)
    after = figures(simulate, "--drift", ".02:.5")
    assert after["probes_per_day_idle"] < before["probes_per_day_idle"] / 5
    assert after["breach"]["seconds_median"] > 2 * before["breach"]["seconds_median"]
    assert after["false_breaches_per_year"]["at_most"] < before["false_breaches_per_year"]["at_most"] / 1000


def test_load_bounds_the_probes_of_a_day(simulate: Alignd, tmp_path: Path) -> None:
    settings(tmp_path, "load", tokens_per_day=22_800)  # 100 probes of 128 + 100 tokens
    found = figures(simulate, "--drift", ".02:.5")
    assert found["probes_per_day_idle"] == found["probes_per_day_burst"] == 100
    assert figures(simulate, "--drift", ".02:.5", "--tokens-per-probe", "228000.0e-3")["probes_per_day_idle"] == 100
    assert "the bound of a day" in simulate("--drift", ".02:.5")[1]
    code, _, err = simulate("--drift", ".02:.5", "--tokens-per-probe", "1e6")
    assert code == cli.USAGE
    assert "tokens_per_day" in err


def test_rate_and_missing(simulate: Alignd) -> None:
    slow = figures(simulate, "--drift", ".02:.5", "--rate", "100")
    assert 100 <= slow["probes_per_day_idle"] < 300
    lossy = figures(simulate, "--drift", ".02:.5", "--missing", ".5")
    assert lossy["breach"]["probes_median"] > 1.4 * figures(simulate, "--drift", ".02:.5")["breach"]["probes_median"]
    assert "no breach is confirmed" in simulate("--drift", ".02:.5", "--missing", ".5")[1]


def test_a_judge_that_errs(simulate: Alignd) -> None:
    words = ("--drift", ".02:.30", "--judge-sensitivity", ".9", "--judge-specificity", ".96")
    found = figures(simulate, *words)
    assert found["asr_before"] == pytest.approx(0.02 * 0.9 + 0.98 * 0.04)
    assert found["asr_after"] == pytest.approx(0.30 * 0.9 + 0.70 * 0.04)
    assert "p0 = 0.1 of its verdicts is a true ASR of 0.0698" in simulate(*words)[1]


def test_a_calibration_moves_the_tests_as_it_does_the_daemons(simulate: Alignd, tmp_path: Path) -> None:
    confusion = {"found": 270, "missed": 30, "unscored_positive": 0, "false_alarms": 30, "passed": 1470,
                 "unscored_negative": 0}  # fmt: skip
    record = {"judge": "j", "template_sha256": "", "outcome": "harm", "data": "d", "data_sha256": "",
              "calibrated_at": "", "why": {}, "agreement": None, "confusion": confusion}  # fmt: skip
    file = tmp_path / "calibration.json"
    file.write_text(json.dumps(record))
    error = RoganGladen(positives=300, found=270, negatives=1500, passed=1470)
    found = figures(simulate, "--drift", ".02:.40", "--calibration", str(file))
    assert found["asr_before"] == pytest.approx(0.02 * 0.9 + 0.98 * 0.02)
    out = simulate("--drift", ".02:.40", "--calibration", str(file))[1]
    assert f"Its calibration makes {error.null(0.1):.3g} of p0 = 0.1, and {error.least(0.3):.3g} of p1 = 0.3" in out
    assert figures(simulate, "--drift", "none", "--calibration", str(file))["asr_before"] == error.null(0.1)
    config = tmp_path / "alignd.yaml"
    config.write_text(config.read_text().replace("    judge: ", "    judge_calibration: calibration.json\n    judge: "))
    assert figures(simulate, "--drift", ".02:.40") == found
    assert simulate("--drift", ".02:.4", "--judge-sensitivity", ".9")[0] == cli.USAGE
    few = {**confusion, "passed": 15, "false_alarms": 15}
    file.write_text(json.dumps({**record, "confusion": few}))
    assert "can't be told apart" in simulate("--drift", ".02:.40", "--calibration", str(file))[2]
    file.write_text(json.dumps({**record, "outcome": "refusal"}))
    assert "does not say how the judge errs on harm" in simulate("--drift", ".02:.30", "--calibration", str(file))[2]
    file.write_text("{}")
    assert "is no calibration.json" in simulate("--drift", ".02:.30", "--calibration", str(file))[2]
    assert "can't be read" in simulate("--drift", ".02:.30", "--calibration", "nowhere.json")[2]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--drift", "x"], "before:after"),
        (["--drift", ".02"], "before:after"),
        (["--drift", ".02:.3@42"], "1/42"),
        (["--drift", "none@1/42"], "none@42"),
        (["--drift", "0:.3"], "before = 0 is rarer than what is simulated in seconds; give 0.001"),
        (["--drift", ".02:1.5"], "after = 1.5 must lie between"),
        (["--drift", ".3:.02"], "swap the two"),
        (["--drift", ".02:.3@9/4"], "9 of 4 strata"),
        (["--drift", ".2:.5"], "unhealthy already"),
        (["--drift", ".02:.09"], "still healthy"),
        (["--drift", ".02:.12"], "lower statistics.p1"),
        (["--drift", ".02:.5", "--missing", "1"], "missing = 1"),
        (["--drift", ".02:.5", "--missing", "nan"], "missing = nan"),
        (["--drift", ".02:.5", "--rate", "0"], "--rate"),
        (["--drift", ".02:.5", "--rate", "nan"], "--rate"),
        (["--drift", ".02:.5", "--rate", "1e-3"], "gamma_breach"),
        (["--drift", ".02:.5", "--judge-specificity", ".9", "--judge-sensitivity", ".05"], "coin"),
        (["--drift", ".02:.5", "--judge-specificity", ".85"], "raise statistics.p0"),
        (["--drift", ".02:.5", "--stratum-p0", "0"], "stratum_p0"),
        (["--drift", ".02:.3@1/42"], "not above the stratum's p0 = 0.304"),
        (["--drift", ".02:.33@1/42"], "under the stratum's p1 = 0.467"),
        (["--drift", ".02:.5@1/60"], "leaves 16 to each of 60 strata"),
        (["--drift", ".02:.5", "--target", "other"], "no target 'other'"),
        (["--drift", ".02:.5", "--out", "/dev/null/a.svg"], "can't be written"),
    ],
)
def test_what_can_not_be_is_said_and_how_to_mend_it(simulate: Alignd, words: list[str], said: str) -> None:
    code, _, err = simulate(*words)
    assert code == cli.USAGE
    assert said in err


def test_without_a_configuration_it_says_how_to_get_one(alignd: Alignd) -> None:
    code, _, err = alignd("simulate", "--drift", ".02:.3")
    assert code == cli.USAGE
    assert "alignd init" in err


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0.4, "0.4 s"), (59, "59 s"), (60, "1 min"), (276, "4.6 min"), (3599, "60 min"), (3600, "1 h"), (86_400, "1 d"),
     (172_800, "2 d"), (8.64e6, "100 d"), (float("inf"), "never")],
)  # fmt: skip
def test_durations_have_one_unit(seconds: float, said: str) -> None:
    assert duration(seconds) == said


def test_a_plot_escapes_names_and_bears_what_is_never_found() -> None:
    drawn = simulation_svg(
        [Curve(name="a & b", seconds=(5.0, float("inf"))), Curve(name="none", seconds=(float("inf"),))],
        title="<x>", about="&", note="n",
    )  # fmt: skip
    root = ET.fromstring(drawn)
    words = "".join(root.itertext())
    assert "a & b: half within 5 s, 90 % within never" in words
    points = [line.get("points", "") for line in root.iter("{http://www.w3.org/2000/svg}polyline")]
    assert len(points) == 1, "a curve that gets nowhere is not drawn"
    assert points[0].split()[-1].endswith(",232.0"), "half of the way up"
