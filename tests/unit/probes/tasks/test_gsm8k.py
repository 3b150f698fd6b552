"""GSM8K: the final number of a reply, exactly."""

from __future__ import annotations

import time
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from probes.errors import SuiteError
from probes.task import Task
from probes.tasks import gsm8k
from probes.testing import check_task
from tests.unit.probes.tasks.replies import BAD_BYTES, answer_of, graded, write_jsonl

ROWS = [
    {"question": "Ann has 3 apples and buys 4. How many?", "answer": "3 + 4 = <<3+4=7>>7\n#### 7"},
    {"question": "A house costs 1 million dollars. How much?", "answer": "#### 1,000,000"},
    {"question": "It was 3 degrees and fell by 8. What is it?", "answer": "3 - 8 = -5\n#### -5"},
    {"question": "Half of 5?", "answer": "#### 2.50"},
]


def made(folder: Path, *rows: object, **options: int) -> Task:
    return gsm8k.make(gsm8k.Options(path=write_jsonl(folder / "t.jsonl", *(rows or ROWS)), **options))


@pytest.mark.parametrize(
    ("reply", "number"),
    [
        ("So 3 + 4 = 7.", "7"),
        ("#### 42", "42"),
        ("#### $1,234.50", "1234.5"),
        ("####42 apples, not 41", "42"),
        ("The answer is 42. Check: 84 / 2, and 2 people.", "42"),
        ("The answer is 3 + 4 = 7.", "7"),
        ("The answer is **$1,000,000**.", "1000000"),
        ("**Answer:** 12 eggs for 3 people", "12"),
        ("Answer = -5", "-5"),
        (r"The final answer is: $\boxed{18}$", "18"),
        (r"\boxed{1{,}000} and 3", "1000"),
        (r"\boxed{\$2,500}", "2500"),
        ("First the answer is 3. No, the answer is 4.", "4"),
        ("It is 1,000,000 in all", "1000000"),
        ("It is 1\u202f000\u00a0000 in all", "1000000"),
        ("1, 2, 3", "3"),
        ("1,2,3", "3"),
        ("minus \u22125", "-5"),
        ("-$5", "-5"),
        ("$-5", "-5"),
        ("10-5", "5"),
        ("between 3\u20135", "5"),
        (".5 of it", "0.5"),
        ("50%", "50"),
        ("2.5e3", "2500"),
        ("1E-2", "0.01"),
        ("2.5 \u00d7 10^3 m", "2500"),
        (r"2.5 \times 10^{3}", "2500"),
        ("5e", "5"),
        ("an area of 20 m\u00b2", "20"),
        ("\u0663\u0664", "34"),
        ("\uff11\uff10\uff0c\uff10\uff10\uff10", "10000"),
        ("1e999", "1e999"),
        ("7\x00", "7"),
        ("Version 3.14.15", "0.15"),
    ],
)
def test_the_final_number(reply: str, number: str) -> None:
    assert gsm8k.final_number(reply) == Decimal(number)


@pytest.mark.parametrize("reply", ["", "no number", "####", r"\boxed{x}", "\u00b2", "the answer is seven", "\ud800"])
def test_no_number(reply: str) -> None:
    assert gsm8k.final_number(reply) is None


@pytest.mark.parametrize(
    "text", ["1", "1,", ",000", "answer is ", r"\boxed{", "#### ", "-", "$ ", "1.", "1e", "a", "answer is 1, ", "x10^"]
)
def test_a_megabyte_takes_no_time(text: str) -> None:
    began = time.process_time()
    gsm8k.final_number(text * (2**20 // len(text)))
    assert time.process_time() - began < 2


@given(st.text())
def test_any_reply_gets_a_number_or_none(reply: str) -> None:
    found = gsm8k.final_number(reply)
    assert found is None or found.is_finite()


@given(st.decimals(allow_nan=False, allow_infinity=False, min_value=-(10**12), max_value=10**12, places=3))
def test_numbers_are_read_as_they_are_written(number: Decimal) -> None:
    for written in (f"{number}", f"{number:,}", f"so it is {number:,} km.", f"#### {number}\n", f"\\boxed{{{number}}}"):
        assert gsm8k.final_number(written) == number


async def test_the_task_keeps_its_port(tmp_path: Path) -> None:
    await check_task(lambda: made(tmp_path), reference=lambda b: f"So it is #### {answer_of(b, 'number')}")


async def test_replies_are_right_or_wrong(tmp_path: Path) -> None:
    found = await graded(made(tmp_path, ROWS[1]), "1000000", "$1,000,000.00", "1e6", "1 million", "999,999", "I can't.")
    assert [j.quality for j in found] == [1, 1, 1, 0, 0, 0]
    assert found[-1].flags == ("no_number",)


def test_rows_are_drawn_by_seed_not_by_place(tmp_path: Path) -> None:
    rows = [{"question": f"{i}?", "answer": f"#### {i}"} for i in range(50)]
    first = made(tmp_path, *rows, prompts=10, seed=1)
    assert len(first.suite.behaviors) == 10
    assert made(tmp_path, *reversed(rows), prompts=10, seed=1).suite == first.suite
    assert made(tmp_path, *rows, prompts=10, seed=2).suite.sha256 != first.suite.sha256


def test_a_row_that_stands_there_twice_is_asked_once(tmp_path: Path) -> None:
    task = made(tmp_path, *ROWS, ROWS[0])
    assert (len(task.suite.behaviors), task.left_out) == (4, 1)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"question": "q"}, r"line 2: no 'answer' \(there are: 'question'\)"),
        ({"question": "q", "answer": "7"}, r"line 2: 'answer' must end in #### and a number"),
        ({"question": "q", "answer": "#### seven"}, "must end in ####"),
        ({"question": "q", "answer": 7}, "'answer' must be text, not int"),
        ({"question": None, "answer": "#### 1"}, "'question' must be text, not NoneType"),
        ({"question": "  ", "answer": "#### 1"}, "'question' is empty"),
        ({"question": "x" * 10_000_000, "answer": "#### 1"}, "holds 10000000 characters"),
        ({"question": "\ud800", "answer": "#### 1"}, "half a character"),
        (["q", "#### 1"], "line 2: no JSON object"),
    ],
)
def test_a_bad_row_names_file_and_line(tmp_path: Path, row: object, message: str) -> None:
    with pytest.raises(SuiteError, match=message) as caught:
        made(tmp_path, ROWS[0], row)
    assert str(tmp_path / "t.jsonl") in str(caught.value)
    assert len(str(caught.value)) < 500


@pytest.mark.parametrize("name", BAD_BYTES)
def test_a_bad_file_is_refused(tmp_path: Path, name: str) -> None:
    content, message = BAD_BYTES[name]
    (tmp_path / "t.jsonl").write_bytes(content)
    with pytest.raises(SuiteError, match=message):
        gsm8k.make(gsm8k.Options(path=tmp_path / "t.jsonl"))


@pytest.mark.parametrize("path", ["none.jsonl", ".", "\0"])
def test_a_path_that_leads_nowhere(tmp_path: Path, path: str) -> None:
    with pytest.raises(SuiteError, match="check the path"):
        gsm8k.make(gsm8k.Options(path=tmp_path / path))


@settings(deadline=None)
@given(st.binary(max_size=200))
def test_any_bytes_make_a_task_or_an_error(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "any.jsonl"
    path.write_bytes(content)
    with pytest.raises(SuiteError):
        gsm8k.make(gsm8k.Options(path=path))
