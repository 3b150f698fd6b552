"""Results in other tools' forms: HarmBench's ASR of an exported file is ours, and what has no verdict is no label."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import date
from pathlib import Path
from types import NoneType
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
from probes.probe import Message
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


@pytest.mark.parametrize("conversation", [[{"role": "user"}], [1], ["image.png", "text"], {"role": "user"}, 3])
def test_a_test_case_that_is_no_list_of_messages_is_refused(tmp_path: Path, conversation: object) -> None:
    (tmp_path / "c.json").write_text(json.dumps({"a": [{"test_case": conversation, "generation": "no"}]}))
    with pytest.raises(LabelError, match="test_case"):
        read_completions(tmp_path / "c.json")


def test_a_conversation_can_be_asked_again(tmp_path: Path) -> None:
    said = (("system", "Be kind."), ("user", "First?"), ("assistant", "No."), ("user", "Then?"))
    messages = tuple(Message(role=role, content=content) for role, content in said)
    (one,) = results(["safe"])
    talk = replace(one, probe=replace(one.probe, messages=messages))
    content = results_of([talk])
    (case,) = content[one.probe.behavior.id]
    assert case["test_case"] == [{"role": role, "content": content} for role, content in said]
    (tmp_path / "c.json").write_text(json.dumps(content))
    (read,) = read_completions(tmp_path / "c.json")
    assert read.test_case == "First?\n\nThen?"
    assert read.values == case


PARAMETERS = {
    "method": str, "model": str, "attack_type": str, "defense": NoneType, "attack_success_rate": float,
    "total_number_of_jailbreaks": int, "number_of_submitted_prompts": int, "total_number_of_queries": int,
    "total_prompt_tokens": int, "total_response_tokens": int, "evaluation_date": str, "evaluation_llm_provider": str,
    "method_parameters": dict,
}  # fmt: skip
"""Fields of the package's ``AttackParameters``."""
JAILBREAK = {
    "index": int, "goal": str, "behavior": str, "category": str, "prompt": str, "response": str,
    "number_of_queries": int, "queries_to_jailbreak": int, "prompt_tokens": int, "response_tokens": int,
    "jailbroken": bool,
}  # fmt: skip
"""Fields of the package's ``JailbreakInfo``."""


def test_an_artifact_has_the_fields_of_the_published_schema() -> None:
    made = artifact_of(results(["harmful"]), model="m", date="2026-01-02", method_parameters={"max_tokens": 64})
    assert set(made) == {"parameters", "jailbreaks"}
    assert {k: type(v) for k, v in made["parameters"].items()} == PARAMETERS
    assert [{k: type(v) for k, v in j.items()} for j in made["jailbreaks"]] == [JAILBREAK]
    assert date.fromisoformat(made["parameters"]["evaluation_date"])
    assert made["parameters"]["attack_type"] in {"white_box", "black_box", "transfer", "manual"}
    assert made["parameters"]["method_parameters"] == {"max_tokens": 64}


def test_an_artifact_shows_the_first_harmful_answer_and_what_it_took() -> None:
    first = results(["safe", "safe"])
    second = [replace(r, probe=replace(r.probe, attack="other")) for r in results(["harmful"])]
    artifact = artifact_of([*first, *second], model="m")
    one, two = artifact["jailbreaks"]
    assert (one["jailbroken"], one["number_of_queries"], one["queries_to_jailbreak"]) == (True, 2, 2)
    assert (two["jailbroken"], two["number_of_queries"], two["queries_to_jailbreak"]) == (False, 1, None)
    assert (one["prompt_tokens"], one["response_tokens"]) == (18, 6)
    found = artifact["parameters"]
    assert (found["attack_success_rate"], found["total_number_of_jailbreaks"], found["model"]) == (0.5, 1, "m")
    assert (found["number_of_submitted_prompts"], found["total_number_of_queries"]) == (2, 3)
    assert (found["total_prompt_tokens"], found["total_response_tokens"]) == (27, 9)


def test_a_behavior_without_a_verdict_is_in_the_artifact_and_out_of_the_rate() -> None:
    made = artifact_of(results(["harmful", "safe", "unscored", "missing"]), model="m")
    assert [j["jailbroken"] for j in made["jailbreaks"]] == [True, False, None, None]
    assert [j["response"] is None for j in made["jailbreaks"]] == [False, False, False, True]
    assert made["parameters"]["attack_success_rate"] == 0.5
    assert artifact_of(results(["unscored"]), model="m")["parameters"]["attack_success_rate"] is None
    read = parse_published(json.dumps(made), Path("a.json"))
    assert [v for (v,) in read.verdicts.values()] == [True, False, None, None]


def test_a_safe_answer_beside_one_without_a_verdict_is_the_one_that_is_shown() -> None:
    twice = [*results(["safe"]), *results(["unscored"])]
    (shown,) = artifact_of(twice, model="m")["jailbreaks"]
    assert (shown["jailbroken"], shown["number_of_queries"]) == (False, 2)


@given(st.lists(st.sampled_from(["harmful", "safe"]), min_size=1, max_size=7))
def test_the_asr_of_an_exported_artifact_is_ours(words: list[str]) -> None:
    read = parse_published(json.dumps(artifact_of(results(words), model="m")), Path("a.json"))
    assert read.asr() == asr_estimate(results(words))
    assert read.stated_asr == read.asr().value


def test_an_index_is_a_behaviors_place_in_its_suite() -> None:
    order = [p.behavior.id for p in reversed(EACH[1:])]
    made = artifact_of(results(["harmful", "safe", "safe"]), model="m", order=order)["jailbreaks"]
    assert [(j["index"], j["behavior"]) for j in made] == [
        (len(order) - 2, EACH[2].behavior.id), (len(order) - 1, EACH[1].behavior.id), (len(order), EACH[0].behavior.id),
    ]  # fmt: skip


def test_junit_tells_failures_from_errors_and_holds_no_text() -> None:
    text = junit_of(results(["harmful", "safe", "unscored", "missing"]), name="t \x00\ud800 s")
    suite = ET.fromstring(text.encode("utf-8"))[0]
    assert (suite.get("tests"), suite.get("failures"), suite.get("errors")) == ("4", "1", "2")
    assert [c.get("message") for case in suite for c in case] == ["harmful, score 2", "unscored", "timeout"]
    assert "answer to" not in text
    assert EACH[0].behavior.prompt not in text
