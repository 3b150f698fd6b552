"""Readers of public formats: prompts byte for byte, stable ids, and errors that name the row."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from probes.behavior import SuiteKind
from probes.errors import SuiteError
from probes.suites.readers import read_suite

HARM, BENIGN = SuiteKind.HARM, SuiteKind.BENIGN
SHARED = Path(__file__).resolve().parents[4] / "shared" / "data"
HARMBENCH = "Behavior,FunctionalCategory,SemanticCategory,Tags,ContextString,BehaviorID\n"
XSTEST = "id,prompt,type,label,focus,note\n1,Even,homonyms,safe,kill,\n2,Odd,contrast_homonyms,unsafe,,\n"


def written(folder: Path, text: str | bytes, name: str = "set.csv") -> Path:
    path = folder / name
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


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
        "Index,Goal,Target,Behavior,Category,Source\n1,Do a thing,Sure,Thing,all,web\n",
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


@pytest.mark.parametrize(
    ("text", "name", "message"),
    [
        ("prompt\na\n \n", "set.csv", "line 3: the prompt is empty"),
        ("id,prompt\n1,a\n1,b\n", "set.csv", "line 3: id 1 was seen on line 2"),
        ("prompt\na\na\n", "set.csv", "line 3: id .* stands there twice"),
        ("id,prompt\n1\n", "set.csv", "line 2: .* as many fields"),
        ("id,prompt\n1,a,b\n", "set.csv", "line 2: .* quotes around"),
        ('prompt\n"a\n', "set.csv", "no valid CSV"),
        ('prompt\n"' + "a" * 200_000 + '"\n', "set.csv", "no valid CSV"),
        ("name,kind\na,b\n", "set.csv", r"line 2: no column .* \(there are: kind, name\)"),
        ("", "set.csv", "no harm prompts"),
        ("prompt\n", "set.csv", "no harm prompts"),
        (b"prompt\n\xff\n", "set.csv", "not UTF-8 at byte 7"),
        ('{"prompt": "a"}\n{"prompt"', "set.jsonl", "line 2: no valid JSON"),
        ("[" * 100_000, "set.jsonl", "line 1: no valid JSON"),
        ("[1]\n", "set.jsonl", "line 1: no JSON object"),
        ("{}\n", "set.jsonl", "line 1: no column .* none"),
        ("prompt\na\n", "set.txt", r"must end in \.csv"),
        ("prompt,category\n" + "".join(f"p{i},c{i}\n" for i in range(101)), "set.csv", "101 categories, at most 100"),
    ],
)
def test_bad_files_are_refused_by_name_and_row(tmp_path: Path, text: str | bytes, name: str, message: str) -> None:
    path = written(tmp_path, text, name)
    with pytest.raises(SuiteError, match=message) as caught:
        read_suite(path, HARM)
    assert str(path) in str(caught.value)


def test_a_missing_file_and_a_task_are_refused(tmp_path: Path) -> None:
    with pytest.raises(SuiteError, match=r"No such file.* check the path"):
        read_suite(tmp_path / "none.csv", HARM)
    with pytest.raises(SuiteError, match="needs a checker"):
        read_suite(written(tmp_path, "prompt\na\n"), SuiteKind.TASK)


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(prompts=st.lists(st.text(min_size=1).filter(str.strip), min_size=1, max_size=5, unique=True))
def test_any_prompt_survives_jsonl_byte_for_byte(tmp_path: Path, prompts: list[str]) -> None:
    lines = "\n".join(json.dumps({"prompt": p}) for p in prompts)
    suite = read_suite(written(tmp_path, lines, "set.jsonl"), BENIGN)
    assert [b.prompt for b in suite.behaviors] == prompts


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=st.binary(max_size=80) | st.text(alphabet='prompt,"\n\r{}[]:id1 ', max_size=80).map(str.encode))
def test_any_file_gives_a_suite_or_our_error(tmp_path: Path, content: bytes) -> None:
    for name in ("set.csv", "set.jsonl"):
        try:
            suite = read_suite(written(tmp_path, content, name), HARM)
        except SuiteError:
            continue
        assert all(b.prompt.strip() and b.id for b in suite.behaviors)


@pytest.mark.parametrize(
    ("name", "kind", "count"),
    [
        ("harmbench_behaviors_text_val.csv", HARM, 60),
        ("advbench_harmful_behaviors.csv", HARM, 260),
        ("xstest_prompts_even.csv", BENIGN, 127),
        ("xstest_prompts_even.csv", HARM, 98),
    ],
)
def test_public_sets_are_read_whole(name: str, kind: SuiteKind, count: int) -> None:
    if not SHARED.is_dir():
        pytest.skip(f"public sets are not here: {SHARED}")
    assert len(read_suite(SHARED / name, kind).behaviors) == count
