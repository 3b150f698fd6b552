"""Files that are refused, by name and row; any other bytes give a suite or our error."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from probes.behavior import SuiteKind
from probes.errors import SuiteError
from probes.suites.readers import read_suite

HARM, BENIGN = SuiteKind.HARM, SuiteKind.BENIGN
HARMBENCH = "Behavior,FunctionalCategory,SemanticCategory,Tags,ContextString,BehaviorID\n"
XSTEST = "id,prompt,type,label,focus,note\n1,Even,homonyms,safe,kill,\n2,Odd,contrast_homonyms,unsafe,,\n"


def written(folder: Path, text: str | bytes, name: str = "set.csv") -> Path:
    path = folder / name
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


@pytest.mark.parametrize(
    ("text", "name", "message"),
    [
        ("prompt\na\n \n", "set.csv", "line 3: the prompt is empty"),
        ("id,prompt\n1,a\n1,b\n", "set.csv", "line 3: id 1 was seen on line 2"),
        ('[{"id": 1, "prompt": "a"}, {"id": "1", "prompt": "b"}]', "set.json", "entry 2: id 1 was seen on entry 1"),
        ("prompt\na\na\n", "set.csv", "line 3: id .* stands there twice"),
        ("id,prompt\n1\n", "set.csv", "line 2: .* as many fields"),
        ("id,prompt\n1,a,b\n", "set.csv", "line 2: .* quotes around"),
        ('id,prompt\n1,"a\nb"\n2\n', "set.csv", "line 4: .* as many fields"),
        ("prompt,prompt\na,b\n", "set.csv", "line 1: column prompt stands twice"),
        ('prompt\n"a\n', "set.csv", "no valid CSV"),
        (
            'prompt\n"' + "a" * 10_000_000 + '"\n',
            "set.csv",
            "line 2: prompt has 10,000,000 characters, at most 100,000",
        ),
        ("id,prompt\n" + "a" * 201 + ",b\n", "set.csv", "line 2: id has 201 characters, at most 200"),
        ("name,kind\na,b\n", "set.csv", r"line 2: no column .* \(there are: kind, name\)"),
        ("prompt;category\na;b\n", "set.csv", r"separate the columns by commas"),
        ("", "set.csv", "no harm prompts in it, for it has no rows"),
        ("prompt\n", "set.csv", "no harm prompts"),
        ("", "set.json", "no harm prompts"),
        ("[]", "set.json", "no harm prompts"),
        (
            XSTEST.replace("contrast_homonyms,unsafe", "homonyms,safe"),
            "set.csv",
            "no harm prompts .* read it as benign",
        ),
        (XSTEST.replace("unsafe", "Unsafe"), "set.csv", "line 3: label is Unsafe; write safe or unsafe"),
        (b"prompt\n\xff\n", "set.csv", r"line 2: not UTF-8 at byte 7 \(0xff\).*iconv"),
        (b"\xef\xbb\xbfprompt\n\xe4\n", "set.csv", r"line 2: not UTF-8 at byte 10 \(0xe4\)"),
        ("prompt\na\n".encode("utf-16"), "set.csv", "is UTF-16, not UTF-8; `iconv -f UTF-16 -t UTF-8`"),
        ("prompt\na\n".encode("utf-32"), "set.csv", "is UTF-32, not UTF-8"),
        ("prompt\na\n".encode("utf-16-be"), "set.csv", "line 1: a NUL at byte 0; .* UTF-16 without its mark"),
        (b"prompt\na\0b\n", "set.csv", "line 2: a NUL at byte 8"),
        ('{"prompt": "a\\u0000b"}', "set.jsonl", "line 1: prompt holds a NUL character"),
        ('{"prompt": "a\\ud800"}', "set.jsonl", r"line 1: prompt holds half a surrogate pair \(\\ud800\)"),
        ('{"\\ud800": "a"}', "set.jsonl", r"there are: '\\ud800'"),
        ('{"prompt": "a"}\n{"prompt"', "set.jsonl", "line 2: no valid JSON"),
        ('{"prompt": "a"}\n{"Prompt": "b"}', "set.jsonl", "line 2: column prompt is missing, which plain rows have"),
        ('{"prompt": ["a"]}', "set.jsonl", "line 1: prompt is no text but list"),
        ('{"prompt": true}', "set.jsonl", "line 1: prompt is no text but bool"),
        ('{"prompt": "a", "score": NaN}', "set.jsonl", r"line 1: no valid JSON \(NaN is no JSON\)"),
        ('{"prompt": "a", "prompt": "b"}', "set.jsonl", "line 1: .*prompt stands twice in an object"),
        ('{"id": ' + "9" * 5000 + ', "prompt": "a"}', "set.jsonl", "line 1: no valid JSON"),
        ("[" * 100_000, "set.jsonl", "line 1: no valid JSON .*nested too deeply"),
        ("[" * 100_000, "set.json", "no valid JSON .*nested too deeply"),
        ("[1]\n", "set.jsonl", "line 1: no JSON object; .* let an array's file end in .json"),
        ("{}\n", "set.jsonl", "line 1: no column .* none"),
        ('{"prompt": "a"}\n{"prompt": "b"}', "set.json", "line 2: no valid JSON .* let it end in .jsonl"),
        ('{"prompt": "a"}', "set.json", "neither an array of objects nor an artifact of JailbreakBench"),
        ('{"jailbreaks": 3}', "set.json", "neither an array of objects nor an artifact"),
        ('[{"prompt": "a"}, 3]', "set.json", "entry 2: no JSON object"),
        ("prompt\na\n", "set.txt", r"must end in \.csv"),
        ("prompt,category\n" + "".join(f"p{i},c{i}\n" for i in range(101)), "set.csv", "101 categories, at most 100"),
        (HARMBENCH + "a,Copyright,illegal,,,x\n", "set.csv", "line 2: FunctionalCategory is Copyright; write standard"),
        (HARMBENCH + "a,standard,illegal,,,\n", "set.csv", "line 2: BehaviorID is empty"),
        (HARMBENCH + " ,contextual,illegal,,context,x\n", "set.csv", "line 2: Behavior is empty"),
        (HARMBENCH + "a,copyright,illegal,,,x\n", "set.csv", r"no harm prompts in it \(HarmBench, 1 rows\)"),
    ],
)
def test_bad_files_are_refused_by_name_and_row(tmp_path: Path, text: str | bytes, name: str, message: str) -> None:
    path = written(tmp_path, text, name)
    with pytest.raises(SuiteError, match=message) as caught:
        read_suite(path, HARM)
    assert str(path) in str(caught.value)
    assert len(str(caught.value)) < 500
    str(caught.value).encode()


@pytest.mark.parametrize("name", ["set.csv", "set.json"])
def test_a_file_of_very_many_columns_holds_nothing_up(tmp_path: Path, name: str) -> None:
    names = [f"c{i}" for i in range(100_000)] + ["z", "z"]
    text = ",".join(names) + "\n" if name == "set.csv" else "[{" + ",".join(f'"{n}":1' for n in names) + "}]"
    began = time.process_time()
    with pytest.raises(SuiteError, match="z stands twice"):
        read_suite(written(tmp_path, text, name), HARM)
    assert time.process_time() - began < 5


def test_a_missing_file_and_a_task_are_refused(tmp_path: Path) -> None:
    with pytest.raises(SuiteError, match=r"No such file.* check the path"):
        read_suite(tmp_path / "none.csv", HARM)
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(SuiteError, match="is a folder; name a file in it"):
        read_suite(tmp_path / "folder.csv", HARM)
    os.mkfifo(tmp_path / "pipe.csv")
    with pytest.raises(SuiteError, match="is a folder or a device; copy its content"):
        read_suite(tmp_path / "pipe.csv", HARM)
    with pytest.raises(SuiteError, match=r"'.*a\\x00b.csv': is no path"):
        read_suite(tmp_path / "a\0b.csv", HARM)
    (tmp_path / "loop.csv").symlink_to("loop.csv")
    with pytest.raises(SuiteError, match="can't be read"):
        read_suite(tmp_path / "loop.csv", HARM)
    with pytest.raises(SuiteError, match="needs a checker"):
        read_suite(written(tmp_path, "prompt\na\n"), SuiteKind.TASK)


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    prompts=st.lists(
        st.text(st.characters(exclude_characters="\0", codec="utf-8"), min_size=1).filter(str.strip),
        min_size=1,
        max_size=5,
        unique=True,
    )
)
def test_any_prompt_survives_jsonl_byte_for_byte(tmp_path: Path, prompts: list[str]) -> None:
    lines = "\n".join(json.dumps({"prompt": p}) for p in prompts)
    suite = read_suite(written(tmp_path, lines, "set.jsonl"), BENIGN)
    assert [b.prompt for b in suite.behaviors] == prompts


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=st.binary(max_size=80) | st.text(alphabet='prompt,"\n\r{}[]:id1 ', max_size=80).map(str.encode))
def test_any_file_gives_a_suite_or_our_error(tmp_path: Path, content: bytes) -> None:
    for name in ("set.csv", "set.jsonl", "set.json"):
        try:
            suite = read_suite(written(tmp_path, content, name), HARM)
        except SuiteError:
            continue
        assert all(b.prompt.strip() and b.id for b in suite.behaviors)


VALID = (
    ("set.csv", HARMBENCH + 'a,standard,illegal,,,x\n"b, c",contextual,illegal,,"d\ne",y\n'),
    ("set.csv", XSTEST),
    ("set.jsonl", '{"id": 1, "prompt": "a"}\n{"id": 2, "prompt": "b \\u00e9 \\ud83d\\ude00"}\n'),
    ("set.json", '{"parameters": {}, "jailbreaks": [{"goal": "a", "behavior": "b", "category": "c", "prompt": "d"}]}'),
)
PIECES = (
    b"",
    b"\0",
    b"\xff",
    b'"',
    b",",
    b"\n",
    b"\r",
    b"NaN",
    b"\\ud800",
    b"\\u0000",
    b"[" * 2000,
    b"a" * 200_000,
    b"1e999",
)


@settings(deadline=None, max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    valid=st.sampled_from(VALID),
    cuts=st.lists(st.tuples(st.integers(0, 200), st.integers(0, 30), st.sampled_from(PIECES)), min_size=1, max_size=4),
)
def test_a_damaged_file_gives_a_suite_or_our_error(
    tmp_path: Path, valid: tuple[str, str], cuts: list[tuple[int, int, bytes]]
) -> None:
    name, content = valid[0], valid[1].encode()
    for start, length, piece in cuts:
        content = content[:start] + piece + content[start + length :]
    try:
        suite = read_suite(written(tmp_path, content, name), HARM)
    except SuiteError as error:
        said = str(error)
    else:
        said = ""
    assert len(said.encode()) < 600
    if said:
        return
    for behavior in suite.behaviors:
        assert behavior.prompt.strip()
        assert len(behavior.prompt.encode()) <= 400_000
        assert len(behavior.id.encode()) <= 800
