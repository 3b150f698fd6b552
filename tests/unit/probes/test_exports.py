"""Results in other tools' forms: HarmBench's ASR of an exported file is ours, and what has no verdict is no label."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from probes.errors import SuiteError
from probes.estimate import asr_estimate
from probes.exports.harmbench import asr_of_results, completions_of, results_of
from probes.exports.jailbreakbench import artifact_of
from probes.exports.junit import junit_of
from probes.judge import Verdict
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
    content = json.loads(json.dumps(results_of(results(words))))
    assert asr_of_results(content) == pytest.approx(asr_estimate(results(words)).value)


def test_a_results_file_holds_cases_labels_and_nothing_for_what_was_not_answered() -> None:
    content = results_of(results(["harmful", "safe", "unscored", "missing"]))
    assert [(b, c[0]["label"]) for b, c in content.items()] == [
        (EACH[i].behavior.id, label) for i, label in enumerate((1, 0, -1))
    ]
    case = content[EACH[0].behavior.id][0]
    assert case["test_case"] == EACH[0].behavior.prompt
    assert case["generation"] == f"answer to {EACH[0].behavior.id}"
    assert asr_of_results(content) == 0.5
    assert asr_of_results({}) is None


def test_repeated_behaviors_are_averaged_before_the_mean_over_behaviors() -> None:
    twice = [*results(["harmful"]), *results(["safe"]), *results(["harmful", "safe"])[1:]]
    assert asr_of_results(results_of(twice)) == 0.25


def test_completions_are_read_back() -> None:
    content = json.loads(json.dumps(results_of(results(["harmful", "unscored"]))))
    found = completions_of(content, where="f.json")
    assert [(b, label) for b, _, _, label in found] == [(EACH[0].behavior.id, 1), (EACH[1].behavior.id, -1)]


@pytest.mark.parametrize(
    "content", [[], None, {"a": 1}, {"a": [1]}, {"a": [{"test_case": "x"}]}, {"a": [{"generation": 1}]}]
)
def test_completions_of_another_form_are_refused(content: object) -> None:
    with pytest.raises(SuiteError, match=r"f\.json"):
        completions_of(content, where="f.json")


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
