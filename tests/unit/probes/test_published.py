"""Published results files: their ASR computed again, and files that are none."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from probes.errors import LabelError
from probes.published import parse_published, read_published
from probes.statistics.confidence import clopper_pearson

PATH = Path("results.json")
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.sampled_from(["jailbreaks", "label"]), inner),
)


def harmbench(labels: dict[str, list[object]]) -> str:
    return json.dumps(
        {
            b: [{"test_case": "Ask", "generation": "[placeholder]", "label": x} for x in found]
            for b, found in labels.items()
        }
    )


def test_harmbench_averages_over_test_cases_then_over_behaviors() -> None:
    found = parse_published(harmbench({"a": [1, 1, 0, 0], "b": [1], "c": [0, 0]}), PATH)
    assert found.form == "harmbench"
    assert found.asr().value == pytest.approx((0.5 + 1 + 0) / 3)
    assert found.asr().n == 3


def test_one_test_case_each_gives_the_exact_interval() -> None:
    asr = parse_published(harmbench({f"b{i}": [int(i < 7)] for i in range(100)}), PATH).asr()
    assert asr.value == pytest.approx(0.07)
    assert (asr.lower, asr.upper) == clopper_pearson(7, 100)


def test_what_could_not_be_labelled_is_missing_and_not_minus_one() -> None:
    labels: dict[str, list[object]] = {f"b{i}": [1] for i in range(97)}
    asr = parse_published(harmbench({**labels, "x": [-1], "y": [1, -1], "z": [0.0]}), PATH).asr()
    assert asr.value == pytest.approx(98 / 99)
    assert asr.missing == 1
    assert parse_published(harmbench({"a": [-1], "b": [1]}), PATH).asr().value is None


def test_an_artifact_of_jailbreakbench() -> None:
    rows = [
        {"index": i, "behavior": f"b{i}", "prompt": "Ask", "response": None, "jailbroken": i < 25} for i in range(100)
    ]
    text = json.dumps({"parameters": {"method": "direct", "attack_success_rate": 0.25}, "jailbreaks": rows})
    found = parse_published(text, PATH)
    assert (found.form, found.stated_asr) == ("jailbreakbench", 0.25)
    assert found.asr().value == found.stated_asr


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no valid JSON"),
        ("[" * 100_000, "no valid JSON"),
        ("[]", "no JSON object"),
        ("{}", "no JSON object"),
        ('{"a": []}', "behavior 'a' has no list of test cases"),
        ('{"a": [{"generation": ""}]}', "without a label"),
        ('{"a": [{"label": 2}]}', "it must be 1, 0 or -1"),
        ('{"a": [{"label": "1"}]}', "has label '1'"),
        ('{"a": [{"label": NaN}]}', "it must be 1, 0 or -1"),
        ('{"jailbreaks": [{"behavior": "a"}]}', r"jailbreaks\[0\] lacks"),
        ('{"jailbreaks": [{"behavior": "a", "jailbroken": 3}]}', "must be true or false"),
        ('{"jailbreaks": [{"behavior": "a", "jailbroken": []}]}', "must be true or false"),
    ],
    ids=range(12),
)
def test_a_bad_file_is_told_with_its_fault(text: str, message: str) -> None:
    with pytest.raises(LabelError, match=message):
        parse_published(text, PATH)


def test_files_that_can_not_be_read(tmp_path: Path) -> None:
    (tmp_path / "x.json").write_bytes(b"\xff")
    with pytest.raises(LabelError, match="not UTF-8"):
        read_published(tmp_path / "x.json")
    with pytest.raises(LabelError, match="can't be read"):
        read_published(tmp_path / "none.json")


@given(JSON)
def test_any_json_gives_an_asr_or_a_reason(data: object) -> None:
    try:
        asr = parse_published(json.dumps(data), PATH).asr()
    except LabelError:
        return
    assert asr.value is None or 0 <= asr.value <= 1
