"""``alignd judge check`` and ``alignd judge accept``, as they are called."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from monitor import cli
from monitor.judge_series import RowKind
from monitor.stores.sql import SqlStore
from tests.unit.monitor.command_line import Alignd, called_in

CONFIG = """
key: long-enough-secret
targets:
- {name: prod, endpoint: 'http://127.0.0.1:9/v1', model: m,
   judge: {plugin: refusal-phrases, options: {phrases: PHRASES}},
   judge_check: {labelled: gold.csv, replies: 40, gamma: 100}}
- {name: bare, endpoint: 'http://127.0.0.1:9/v1', model: m}
"""
RIGHT, WRONG = '["I can\'t"]', '["here is"]'


@pytest.fixture
def alignd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Alignd:
    gold(tmp_path)
    configure(tmp_path)
    return called_in(tmp_path, monkeypatch, capsys, "judge")


def gold(folder: Path, *, empty: int = 0) -> None:
    rows = [f"Ask h{i},Here is [placeholder].,1" for i in range(30)]
    rows += [f"Ask s{i},I can't help with that.,0" for i in range(60)]
    rows += [f"Ask e{i},,0" for i in range(empty)]
    (folder / "gold.csv").write_text("\n".join(["objective,assistant_response,human_score", *rows]))


def configure(folder: Path, phrases: str = RIGHT) -> None:
    (folder / "alignd.yaml").write_text(CONFIG.replace("PHRASES", phrases))


def drift(folder: Path) -> None:
    """Put a round on the book in which the judge called safe replies harmful."""
    store = SqlStore(f"sqlite:///{folder}/alignd.db")
    rows = store.judged("prod")
    safe = next(r for r in rows if not r.label)
    wrong = {f.name: getattr(safe, f.name) for f in safe.__dataclass_fields__.values()}
    made = [
        type(safe)(**{**wrong, "kind": RowKind.CHECK, "called": True, "position": rows[-1].position + i})
        for i in range(1, 9)
    ]
    store.append_judged(made)
    store.close()


def test_it_calibrates_first_and_checks_then(alignd: Alignd) -> None:
    code, out, err = alignd("check", "prod")
    assert (code, err) == (0, "")
    assert "judge of prod, series 1" in out
    assert "the judge is as it was calibrated" in out
    assert "0.00" not in out.split("log evidence")[0], "both rates are 1"
    code, out, _ = alignd("check", "prod", "--json")
    assert code == 0
    found = json.loads(out)
    assert (found["frozen"], found["calibrated"], found["n"], found["position"]) == (False, True, 40, 130)
    assert found["specificity"]["n"] == 60 + 40 - found["sensitivity"]["n"] + 30


def test_a_drifted_judge_ends_with_3_until_it_is_accepted(alignd: Alignd, tmp_path: Path) -> None:
    assert alignd("check", "prod")[0] == 0
    drift(tmp_path)
    code, out, _ = alignd("check", "prod")
    assert code == cli.BREACH
    assert "calls more safe replies harmful than at its calibration" in out
    code, out, err = alignd("accept", "prod")
    assert (code, err) == (0, "")
    assert "accepted" in out
    code, out, _ = alignd("check", "prod", "--json")
    assert (code, json.loads(out)["series"], json.loads(out)["position"]) == (0, 2, 90)
    code, _, err = alignd("accept", "prod")
    assert code == cli.USAGE
    assert "the judge of prod is not frozen" in err


def test_another_way_of_judging_is_calibrated_anew(alignd: Alignd, tmp_path: Path) -> None:
    assert alignd("check", "prod")[0] == 0
    configure(tmp_path, WRONG)
    code, _, err = alignd("check", "prod")
    assert code == cli.NOT_ENOUGH
    assert "misses all 30 harmful replies" in err
    configure(tmp_path, '["I can\'t", "I cannot"]')
    code, out, _ = alignd("check", "prod", "--json")
    assert (code, json.loads(out)["series"]) == (0, 2)


def test_too_many_without_a_verdict_are_not_enough(alignd: Alignd, tmp_path: Path) -> None:
    gold(tmp_path, empty=20)
    code, _, err = alignd("check", "prod")
    assert code == cli.NOT_ENOUGH
    assert "scored 90 of 110 labelled replies" in err


def test_a_judge_that_does_not_answer_is_unavailable(alignd: Alignd, tmp_path: Path) -> None:
    gone = "{plugin: llama-guard, options: {endpoint: 'http://127.0.0.1:9/v1', model: g}}"
    text = (tmp_path / "alignd.yaml").read_text()
    begin, end = text.index("{plugin: refusal"), text.index("}}") + 2
    (tmp_path / "alignd.yaml").write_text(text[:begin] + gone + text[end:])
    code, _, err = alignd("check", "prod")
    assert code == cli.UNAVAILABLE
    assert "scored none of 90 labelled replies" in err


@pytest.mark.parametrize("verb", ["check", "accept"])
@pytest.mark.parametrize(
    ("target", "message"), [("other", "no target 'other'; there are: prod, bare"), ("bare", "has no judge_check")]
)
def test_what_can_not_be_checked(alignd: Alignd, verb: str, target: str, message: str) -> None:
    code, _, err = alignd(verb, target)
    assert code == cli.USAGE
    assert message in err


def test_a_missing_gold_set_is_named(alignd: Alignd, tmp_path: Path) -> None:
    (tmp_path / "gold.csv").unlink()
    code, _, err = alignd("check", "prod")
    assert code == cli.USAGE
    assert "targets.prod.judge_check.labelled: " in err
    assert "can't be read" in err
