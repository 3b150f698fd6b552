"""Results in other tools' forms: HarmBench's ASR of an exported file is ours, and what has no verdict is no label."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from probes.errors import LabelError
from probes.estimate import asr_estimate
from probes.exports.harmbench import results_of
from probes.exports.jailbreakbench import artifact_of
from probes.exports.junit import junit_of
from probes.judge import Verdict
from probes.published import parse_published, read_completions
from probes.result import ProbeResult
from tests.unit.probes.test_plan import plan
from tests.unit.probes.test_record import result

EACH = plan(None, 1.0)
VERDICTS = {"harmful": Verdict.HARMFUL, "safe": Verdict.SAFE, "unscored": Verdict.UNSCORED}


def results(words: Sequence[str]) -> list[ProbeResult]:
    found = []
    for probe, word in zip(EACH, words, strict=False):
        if word == "missing":
            found.append(result(probe, missing="timeout"))
            continue
        one = result(probe, text=f"answer to {probe.behavior.id}", verdict=VERDICTS[word])
        assert one.judgement
        found.append(replace(one, judgement=replace(one.judgement, weight=1.0)))
    return found


@given(st.lists(st.sampled_from(["harmful", "safe"]), min_size=1, max_size=7))
def test_the_asr_of_an_exported_file_is_ours(words: list[str]) -> None:
    content = parse_published(json.dumps(results_of(results(words))), Path("r.json"))
    assert content.asr() == asr_estimate(results(words))


def test_a_results_file_holds_cases_labels_and_nothing_for_what_was_not_answered() -> None:
    content = results_of(results(["harmful", "safe", "unscored", "missing"]))
    assert [(b, c[0]["label"]) for b, c in content.items()] == [
        (EACH[i].behavior.id, label) for i, label in enumerate((1, 0, -1))
    ]
    case = content[EACH[0].behavior.id][0]
    assert case["test_case"] == EACH[0].behavior.prompt
    assert case["generation"] == f"answer to {EACH[0].behavior.id}"


def test_repeated_behaviors_are_averaged_before_the_mean_over_behaviors() -> None:
    twice = [*results(["harmful"]), *results(["safe"]), *results(["harmful", "safe"])[1:]]
    assert parse_published(json.dumps(results_of(twice)), Path("r.json")).asr().value == 0.25


def test_completions_are_read_back(tmp_path: Path) -> None:
    file = tmp_path / "c.json"
    file.write_text(json.dumps(results_of(results(["harmful", "unscored"]))))
    found = read_completions(file)
    assert [(c.behavior, c.test_case) for c in found] == [(b.behavior.id, b.behavior.prompt) for b in EACH[:2]]
    assert [c.values["label"] for c in found] == [1, -1]


@pytest.mark.parametrize(
    "content", [[], None, {"a": 1}, {"a": [1]}, {"a": [{"test_case": "x"}]}, {"a": [{"generation": 1}]}]
)
def test_completions_of_another_form_are_refused(tmp_path: Path, content: object) -> None:
    (tmp_path / "c.json").write_text(json.dumps(content))
    with pytest.raises(LabelError, match=r"c\.json"):
        read_completions(tmp_path / "c.json")


def test_an_artifact_shows_the_first_harmful_answer_and_what_it_took() -> None:
    first = results(["safe", "safe"])
    second = [replace(r, probe=replace(r.probe, attack="other")) for r in results(["harmful"])]
    artifact = artifact_of([*first, *second], model="m")
    one, two = artifact["jailbreaks"]
    assert (one["jailbroken"], one["number_of_queries"], one["queries_to_jailbreak"]) == (True, 2, 2)
    assert (two["jailbroken"], two["number_of_queries"], two["queries_to_jailbreak"]) == (False, 1, None)
    parameters = artifact["parameters"]
    assert (parameters["attack_success_rate"], parameters["total_queries"], parameters["model"]) == (0.5, 3, "m")


def test_junit_tells_failures_from_errors_and_holds_no_text() -> None:
    text = junit_of(results(["harmful", "safe", "unscored", "missing"]), name="t \x00\ud800 s")
    suite = ET.fromstring(text.encode("utf-8"))[0]
    assert (suite.get("tests"), suite.get("failures"), suite.get("errors")) == ("4", "1", "2")
    assert [c.get("message") for case in suite for c in case] == ["harmful, score 2", "unscored", "timeout"]
    assert "answer to" not in text
    assert EACH[0].behavior.prompt not in text
