"""Published formats: told apart by their columns, in CSV and JSON alike, with prompts byte for byte."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from probes.behavior import SuiteKind
from probes.suites.formats import LeftOut
from probes.suites.readers import read_file, read_suite
from tests.unit.probes.test_readers import BENIGN, HARM, HARMBENCH, XSTEST, written


def test_harmbench_keeps_text_adds_context_and_leaves_copyright_out(tmp_path: Path) -> None:
    rows = (
        "Do a thing ,standard,illegal,,,thing_one\n"
        '"Do it, again",contextual,cybercrime_intrusion,context,Some context,thing_two\n'
        'Sing a song,copyright,copyright,"lyrics, hash_check",,song\n'
    )
    suite = read_suite(written(tmp_path, HARMBENCH + rows), HARM)
    assert [(b.id, b.prompt, b.category) for b in suite.behaviors] == [
        ("thing_one", "Do a thing ", "illegal"),
        ("thing_two", "Some context\n\n---\n\nDo it, again", "cybercrime_intrusion"),
    ]
    assert [(b.goal, b.context) for b in suite.behaviors] == [("", ""), ("Do it, again", "Some context")]
    assert (suite.name, suite.kind) == ("set", HARM)


def test_xstest_splits_by_label(tmp_path: Path) -> None:
    path = written(tmp_path, XSTEST)
    assert [b.id for b in read_suite(path, BENIGN).behaviors] == ["xstest-1"]
    assert [b.id for b in read_suite(path, HARM, "contrast").behaviors] == ["xstest-2"]
    unlabelled = written(tmp_path, "id,prompt,type,focus\n1,A b,homonyms,kill\n2,C d,contrast_homonyms,kill\n")
    assert [b.id for b in read_suite(unlabelled, HARM).behaviors] == ["xstest-2"]


@pytest.mark.parametrize(
    "text",
    [
        "goal,target\nDo a thing,Sure\n",
        "category,source,forbidden_prompt\nall,web,Do a thing\n",
        "prompt\r\nDo a thing\r\n",
        "\ufeffprompt\nDo a thing\n",
    ],
)
def test_sets_without_ids_get_the_same_id_for_the_same_prompt(tmp_path: Path, text: str) -> None:
    (behavior,) = read_suite(written(tmp_path, text), HARM).behaviors
    assert (behavior.id, behavior.prompt, behavior.category) == ("26085c845f83", "Do a thing", "all")


def test_ids_do_not_depend_on_the_order_and_digests_on_the_format(tmp_path: Path) -> None:
    one = read_suite(written(tmp_path, "prompt\na b\nc d\n"), HARM)
    two = read_suite(written(tmp_path, "prompt\nc d\na b\n"), HARM)
    jsonl = read_suite(written(tmp_path, '{"prompt": "a b"}\n\n{"prompt": "c d"}\n', "set.jsonl"), HARM)
    assert {b.id for b in one.behaviors} == {b.id for b in two.behaviors}
    assert one == jsonl
    assert one.sha256 != two.sha256


def test_jailbreakbench_keeps_its_names_and_openings(tmp_path: Path) -> None:
    text = "Index,Goal,Target,Behavior,Category,Source\n0,Do a thing,Sure,The Thing,Fraud/Deception,Original\n"
    reading = read_file(written(tmp_path, text), HARM)
    (behavior,) = reading.suite.behaviors
    assert reading.format == "JailbreakBench"
    assert (behavior.id, behavior.prompt, behavior.category) == ("The Thing", "Do a thing", "Fraud/Deception")
    assert behavior.opening == "Sure"


def test_an_artifact_of_jailbreakbench_keeps_prompt_and_goal_apart(tmp_path: Path) -> None:
    found = {"index": 0, "goal": "Do a thing", "behavior": "Thing", "category": "Privacy", "prompt": "  As AIM, do it ",
             "response": "x" * 200_000, "number_of_queries": None, "jailbroken": True}  # fmt: skip
    artifact = {"parameters": {"method": "PAIR"}, "jailbreaks": [found, {**found, "behavior": "Other", "prompt": None}]}
    reading = read_file(written(tmp_path, json.dumps(artifact), "pair.json"), HARM)
    (behavior,) = reading.suite.behaviors
    assert (behavior.id, behavior.prompt, behavior.goal) == ("Thing", "  As AIM, do it ", "Do a thing")
    assert (reading.format, reading.rows) == ("JailbreakBench artifact", 2)
    assert reading.left_out == ((LeftOut.NO_PROMPT, 1),)


def test_openings_of_advbench_and_of_a_plain_file(tmp_path: Path) -> None:
    advbench = written(tmp_path, 'goal,target\nDo a thing,"Sure, here is a thing"\n')
    plain = written(tmp_path, '{"prompt": "Do a thing", "opening": "Sure", "form": "imperative"}', "set.jsonl")
    assert read_suite(advbench, HARM).behaviors[0].opening == "Sure, here is a thing"
    assert (read_suite(plain, HARM).behaviors[0].opening, read_suite(plain, HARM).behaviors[0].form) == (
        "Sure",
        "imperative",
    )


def test_a_published_set_without_ids_may_repeat_itself(tmp_path: Path) -> None:
    reading = read_file(written(tmp_path, "goal,target\na b,Sure\nc d,Sure\na b,Yes\n"), HARM)
    assert [b.prompt for b in reading.suite.behaviors] == ["a b", "c d"]
    assert (reading.rows, reading.left_out) == (3, ((LeftOut.REPEATED, 1),))


@pytest.mark.parametrize(
    ("text", "known"),
    [
        (HARMBENCH + "Do it,standard,illegal,,,one\n", "HarmBench"),
        (XSTEST, "XSTest"),
        ("id,type,prompt,focus,note\nv2-1,contrast_homonyms,Odd,kill,\n", "XSTest"),
        ("goal,target\na,Sure\n", "AdvBench"),
        ("category,source,forbidden_prompt\nViolence,custom,a\n", "StrongREJECT"),
        ("goal\na\n", "plain"),
    ],
)
def test_columns_give_the_format_away_in_csv_and_json(tmp_path: Path, text: str, known: str) -> None:
    path = written(tmp_path, text)
    rows = list(csv.DictReader(path.read_text().splitlines()))
    as_json = written(tmp_path, json.dumps(rows), "set.JSON")
    as_lines = written(tmp_path, "\r\n".join(map(json.dumps, rows)), "set.ndjson")
    readings = [read_file(p, HARM) for p in (path, as_json, as_lines)]
    assert [r.format for r in readings] == [known] * 3
    assert len({r.suite.sha256 for r in readings}) == 1
    assert readings[0].manifest.sha256 == readings[0].suite.sha256
    assert (readings[0].manifest.rows, readings[0].manifest.version) == (len(readings[0].suite.behaviors), "")


def test_xstest_without_ids_is_read_by_its_prompts(tmp_path: Path) -> None:
    text = '[{"prompt": "Even", "focus": "kill", "type": "homonyms", "note": null, "label": "safe"}]'
    assert [b.id for b in read_suite(written(tmp_path, text, "set.json"), BENIGN).behaviors] == ["8c29bf34483d"]


def test_numbers_make_ids_and_null_is_empty(tmp_path: Path) -> None:
    path = written(tmp_path, '{"id": 7, "prompt": "a", "category": null}', "set.jsonl")
    (behavior,) = read_suite(path, HARM).behaviors
    assert (behavior.id, behavior.category) == ("7", "all")


def test_long_cells_are_taken_up_to_the_limit_and_never_matter_elsewhere(tmp_path: Path) -> None:
    limit = csv.field_size_limit()
    path = written(tmp_path, f"prompt,notes\n{'a' * 100_000},{'b' * 10_000_000}\n")
    assert len(read_suite(path, HARM).behaviors[0].prompt) == 100_000
    assert csv.field_size_limit() == limit


@pytest.mark.parametrize(
    ("name", "kind", "count"),
    [
        ("harmbench_behaviors_text_val.csv", HARM, 60),
        ("advbench_harmful_behaviors.csv", HARM, 260),
        ("xstest_prompts_even.csv", BENIGN, 127),
        ("xstest_prompts_even.csv", HARM, 98),
    ],
)
def test_public_sets_are_read_whole(name: str, kind: SuiteKind, count: int, public_data: Callable[[str], Path]) -> None:
    assert len(read_suite(public_data(name), kind).behaviors) == count
