"""``alignd judge calibrate``, as it is called."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from monitor import cli
from monitor.commands.calibration_svg import calibration_svg
from probes.calibration import Calibration, Confusion

Alignd = Callable[..., tuple[int, str, str]]
JUDGE = ("--judge", "refusal-phrases")


@pytest.fixture
def alignd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Alignd:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")

    def call(*words: str) -> tuple[int, str, str]:
        monkeypatch.setattr("sys.argv", ["alignd", "judge", "calibrate", *words])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        out, err = capsys.readouterr()
        code = ended.value.code
        return (code if isinstance(code, int) else 0), out, err

    return call


def write(path: Path, *, harmful: int, safe: int, empty: int = 0, wrong: int = 0, label: str = "01") -> str:
    rows = [f"Ask h{i},Here is [placeholder].,{label[1]}" for i in range(harmful)]
    rows += [f"Ask s{i},I can't help with that.,{label[0]}" for i in range(safe)]
    rows += [f"Ask e{i},,{label[1]}" for i in range(empty)]
    rows += [f"Ask w{i},Here is [placeholder].,{label[0]}" for i in range(wrong)]
    path.write_text("\n".join(["objective,assistant_response,human_score", *rows]))
    return str(path)


def test_it_prints_figures_and_writes_record_and_plot(alignd: Alignd, tmp_path: Path) -> None:
    file = write(tmp_path / "replies.csv", harmful=30, safe=57, empty=1, wrong=3)
    code, out, err = alignd(file, *JUDGE, "--out", "made/here")
    assert (code, err) == (0, "")
    assert "refusal-phrases" in out
    assert "0.950" in out, "specificity"
    assert "unscored: " in out
    record = json.loads((tmp_path / "made/here/calibration.json").read_text())
    assert record["confusion"] == {
        "found": 30, "missed": 0, "unscored_positive": 1, "false_alarms": 3, "passed": 57, "unscored_negative": 0
    }  # fmt: skip
    assert record["outcome"] == "harm"
    assert len(record["data_sha256"]) == len(record["template_sha256"]) == 64
    assert record["sensitivity"]["lower"] == pytest.approx(0.884, abs=1e-3)
    assert "placeholder" not in json.dumps(record)
    ET.fromstring((tmp_path / "made/here/calibration.svg").read_text())


def test_json_and_labels_of_refusal(alignd: Alignd, tmp_path: Path) -> None:
    file = write(tmp_path / "replies.csv", harmful=20, safe=20, label="10")
    code, out, _ = alignd(file, *JUDGE, "--labels", "refusal", "--json")
    assert code == 0
    assert (json.loads(out)["sensitivity"]["value"], json.loads(out)["outcome"]) == (1.0, "refusal")
    code, _, err = alignd(file, *JUDGE)
    assert code == 0
    assert "can't be told from a coin" in err, "read as harm the labels are upside down"


def test_options_reach_the_judge(alignd: Alignd, tmp_path: Path) -> None:
    file = write(tmp_path / "replies.csv", harmful=20, safe=20)
    code, out, _ = alignd(file, *JUDGE, "--options", '{"phrases": ["here is"]}', "--json")
    assert code == 0
    assert json.loads(out)["sensitivity"]["value"] == 0.0


def test_the_judge_of_a_target(alignd: Alignd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["alignd", "init", "--model", "m", "--name", "prod"])
    with pytest.raises(SystemExit):
        cli.main()
    file = write(tmp_path / "replies.csv", harmful=20, safe=20)
    assert alignd(file)[0] == 0
    assert alignd(file, "--target", "prod")[0] == 0
    code, _, err = alignd(file, "--target", "other")
    assert code == cli.USAGE
    assert "no target 'other'; there are: prod" in err


@pytest.mark.parametrize(
    ("counts", "message"),
    [
        ({"harmful": 0, "safe": 30}, "sensitivity is known from 0 replies"),
        ({"harmful": 30, "safe": 3}, "specificity is known from 3 replies"),
        ({"harmful": 20, "safe": 20, "empty": 5}, "5 of 45 replies are unscored"),
    ],
)
def test_too_little_scored_is_not_enough_evidence(
    alignd: Alignd, tmp_path: Path, counts: dict[str, int], message: str
) -> None:
    code, out, err = alignd(write(tmp_path / "x.csv", **counts), *JUDGE, "--out", ".")
    assert code == cli.NOT_ENOUGH
    assert message in err
    assert "specificity" in out
    assert (tmp_path / "calibration.json").exists()
    ET.fromstring((tmp_path / "calibration.svg").read_text())


def test_a_judge_that_scores_nothing_is_unavailable(alignd: Alignd, tmp_path: Path) -> None:
    code, _, err = alignd(write(tmp_path / "x.csv", harmful=0, safe=0, empty=12), *JUDGE)
    assert code == cli.UNAVAILABLE
    assert "scored none of 12 replies" in err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("none.csv", *JUDGE), "none.csv: can't be read"),
        (("x.csv", "--judge", "oracle"), "--judge: no plugin 'oracle'"),
        (("x.csv", *JUDGE, "--options", "{"), "--options: no valid JSON"),
        (("x.csv", *JUDGE, "--options", "[]"), "--options: must be a JSON object"),
        (("x.csv", *JUDGE, "--options", '{"a": 1}'), "refuses its options: a:"),
        (("x.csv", *JUDGE, "--labels", "harmful"), "neither harm nor refusal"),
        (("x.csv", *JUDGE, "--out", "/proc/none"), "/proc/none can't be written"),
        (("x.csv", "--judge", "cascade"), "calibrate that one"),
        (("x.csv",), "alignd init"),
    ],
)
def test_what_is_wrong_is_said(alignd: Alignd, tmp_path: Path, words: tuple[str, ...], message: str) -> None:
    write(tmp_path / "x.csv", harmful=20, safe=20)
    code, _, err = alignd(*words)
    assert code in {cli.USAGE, cli.CRASH}
    assert message in err


def test_the_plot_is_whole_and_escapes_what_it_is_given() -> None:
    made = Calibration(
        judge="<script>&", template_sha256="0" * 64, outcome="harm", data="a<b" * 80, data_sha256="0" * 64,
        calibrated_at="2026-01-01T00:00:00+00:00", confusion=Confusion(found=9, missed=1, passed=80, false_alarms=2),
        why={},
    )  # fmt: skip
    drawn = calibration_svg(made)
    root = ET.fromstring(drawn)
    said = [t.text for t in root.iter("{http://www.w3.org/2000/svg}text")]
    assert {"9", "80", "0.900", "sensitivity"} <= set(said)
    assert "<script>" not in drawn
    assert "http" not in drawn.replace("http://www.w3.org/2000/svg", ""), "self-contained"
