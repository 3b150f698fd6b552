"""MMLU: the likeliest letter, else the one that the reply names."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from probes.errors import SuiteError
from probes.task import Task
from probes.tasks import mmlu
from probes.testing import check_task
from tests.unit.probes.tasks.replies import answer_of, pair, write_jsonl

CSV = 'What is 2 + 2?,3,4,5,6,B\n"Which one, then?",a,"b, or ""c""",,d,D\n'


def made(folder: Path, text: str = CSV, **options: int) -> Task:
    path = folder / "high_school_physics_test.csv"
    path.write_text(text, encoding="utf-8")
    return mmlu.make(mmlu.Options(path=path, **options))


def logs(**shares: float) -> tuple[tuple[str, float], ...]:
    return tuple((token, math.log(p)) for token, p in shares.items())


def test_spellings_of_a_letter_are_summed() -> None:
    tokens = (
        ("B", math.log(0.3)),
        (" A", math.log(0.2)),
        ("\u0120A", math.log(0.15)),
        ("\u2581B", -9.0),
        ("The", -0.1),
    )
    assert mmlu.letter_by_logprob(tokens) == "A"
    assert mmlu.letter_by_logprob((("(C", -3.0), ("D.", -2.0))) == "D"
    assert not mmlu.letter_by_logprob((("a", -0.1), ("Answer", -0.2), ("AB", -1.0)))
    assert not mmlu.letter_by_logprob(())
    assert not mmlu.letter_by_logprob((("A", -math.inf),))


@pytest.mark.parametrize(
    ("reply", "letter"),
    [
        ("B", "B"), (" B.", "B"), ("(C) because", "C"), ("**D**", "D"), ("D: it is", "D"), ("B\nSince", "B"),
        ("The answer is B.", "B"), ("Answer: (C)", "C"), ("the correct option is **D**", "D"),
        (r"So \boxed{A}", "A"), (r"\boxed{\text{B}}", "B"), ("The answer is A. No: the answer is C", "C"),
        ("A dog is the answer", ""), ("Apple", ""), ("", ""), ("I can't help with that.", ""), ("E", ""),
        ("\u0391", ""), ("The answer is A's", ""), ("b", ""), ("\x00", ""),
    ],
)  # fmt: skip
def test_the_letter_that_a_reply_names(reply: str, letter: str) -> None:
    assert mmlu.letter_of(reply) == letter


@given(st.text())
def test_any_reply_names_a_letter_or_none(reply: str) -> None:
    assert mmlu.letter_of(reply) in {"", "A", "B", "C", "D"}


@pytest.mark.parametrize("text", ["answer ", "answer: (", "(", " ", "A", "\n", r"\boxed{"])
def test_a_megabyte_is_read(text: str) -> None:
    mmlu.letter_of(text * (2**20 // len(text)))


async def test_the_task_keeps_its_port(tmp_path: Path) -> None:
    await check_task(lambda: made(tmp_path), reference=lambda b: f"The answer is {answer_of(b, 'letter')}.")


async def test_log_probabilities_win_over_the_reply(tmp_path: Path) -> None:
    task = made(tmp_path, CSV.splitlines()[0])
    assert (task.top_logprobs, task.suite.behaviors[0].category) == (20, "high_school_physics")
    behavior = task.suite.behaviors[0]
    found = await task.judge.judge([
        pair(behavior, "A", first_token=logs(A=0.2, B=0.7)),
        pair(behavior, "B", first_token=logs(A=0.7, B=0.2)),
        pair(behavior, "B", first_token=logs(The=0.9)),
        pair(behavior, "B"),
        pair(behavior, "Who knows?"),
    ])  # fmt: skip
    by = [(j.quality, j.flags) for j in found]
    assert by == [
        (1, ("by_logprob",)), (0, ("by_logprob",)), (1, ("by_letter",)), (1, ("by_letter",)), (0, ("no_letter",)),
    ]  # fmt: skip


def test_the_prompt_lists_the_choices(tmp_path: Path) -> None:
    prompts = {b.prompt for b in made(tmp_path).suite.behaviors}
    assert any(p.endswith('Which one, then?\nA. a\nB. b, or "c"\nC. \nD. d\nAnswer:') for p in prompts)
    assert all("high school physics" in p for p in prompts)


def test_a_folder_is_read_file_by_file(tmp_path: Path) -> None:
    (tmp_path / "astronomy_test.csv").write_text("q,1,2,3,4,A\n")
    write_jsonl(tmp_path / "law_val.jsonl", {"question": "q", "choices": ["1", "2", "3", "4"], "answer": 2})
    write_jsonl(
        tmp_path / "all.jsonl", {"question": "q", "choices": ["1", "2", "3", "4"], "answer": "D", "subject": "us_law"}
    )
    task = mmlu.make(mmlu.Options(path=tmp_path))
    assert {(b.category, answer_of(b, "letter")) for b in task.suite.behaviors} == {
        ("astronomy", "A"), ("law", "C"), ("us_law", "D"),
    }  # fmt: skip


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("q,1,2,3,4\n", r"line 1: 5 fields, not 6"),
        ("q,1,2,3,4,A\n\nq,1,2,3,4,E\n", r"line 3: 'answer' must be one of A, B, C, D"),
        ("q,1,2,3,4,a\n", "'a'"),
        ("q,1,2,3,4,0\n", "'0'"),
        ("q,1,2,3,4,AB\n", "'AB'"),
        ("q,1,2,3,4,\n", "''"),
        (" ,1,2,3,4,A\n", "'question' is empty"),
        ('"q,1,2,3,4,A\n', "no valid CSV"),
        ("q" * 10_000_000 + ",1,2,3,4,A\n", "no valid CSV.*field limit"),
        ("", "nothing in it"),
    ],
)
def test_a_bad_csv_names_file_and_line(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(SuiteError, match=message) as caught:
        made(tmp_path, text)
    assert "high_school_physics_test.csv" in str(caught.value)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"question": "q", "choices": ["1", "2"], "answer": 0}, "2 choices, not 4"),
        ({"question": "q", "choices": "1234", "answer": 0}, "'choices' must be a list"),
        ({"question": "q", "choices": [1, 2, 3, 4], "answer": 0}, "must be text, not int"),
        ({"question": "q", "choices": ["1", "2", "3", "4"], "answer": 4}, "'answer' must be one of"),
        ({"question": "q", "choices": ["1", "2", "3", "4"], "answer": True}, "'answer' must be one of"),
        ({"question": "q", "choices": ["1", "2", "3", "4"]}, "'answer' must be one of"),
        ({"question": "q", "answer": 0}, "'choices' must be a list"),
        ({"question": "q", "choices": ["1", "2", "3", "4"], "answer": 0, "subject": 3}, "'subject' must be text"),
    ],
)
def test_a_bad_row_is_named(tmp_path: Path, row: object, message: str) -> None:
    with pytest.raises(SuiteError, match=message):
        mmlu.make(mmlu.Options(path=write_jsonl(tmp_path / "t.jsonl", row)))


def test_an_empty_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SuiteError, match="data/test"):
        mmlu.make(mmlu.Options(path=tmp_path))


def test_too_many_subjects_are_refused(tmp_path: Path) -> None:
    rows = [{"question": "q", "choices": list("1234"), "answer": 0, "subject": f"s{i}"} for i in range(101)]
    with pytest.raises(SuiteError, match="101 categories"):
        mmlu.make(mmlu.Options(path=write_jsonl(tmp_path / "t.jsonl", *rows)))
