"""What a judge's server says, read without trust."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from probes.errors import JudgeError
from probes.judges.answers import Answer, chat_answer, likelihood, text_answer, unthought
from tests.fake_judge import likely, served

Read = Callable[[dict[str, Any]], Answer]


@pytest.mark.parametrize("read", [chat_answer, text_answer])
def test_probabilities_are_taken_over_all_spellings_of_a_word(read: Read) -> None:
    tops = {"Yes": 0.6, " yes": 0.2, "\u2581YES": 0.1, "no": 0.05, "Maybe": 0.05}
    found = likelihood(read(served(likely("Yes", [("Yes", tops)]))), harm={"yes"}, other={"no"})
    assert found is not None
    assert found.p == pytest.approx(0.9 / 0.95)
    assert found.mass == pytest.approx(0.95)


@pytest.mark.parametrize("read", [chat_answer, text_answer])
def test_the_last_of_the_words_counts(read: Read) -> None:
    body = served(likely("no yes.", [("no", {"no": 1.0}), (" yes", {" yes": 0.7, " no": 0.3}), (".", {".": 1.0})]))
    found = likelihood(read(body), harm={"yes"}, other={"no"})
    assert found is not None
    assert found.p == pytest.approx(0.7)


@pytest.mark.parametrize("read", [chat_answer, text_answer])
@pytest.mark.parametrize("top", [{"Yes": 2.0}, {"Yes": 0.9, "no": 0.9}, {}])
def test_impossible_probabilities_are_none(read: Read, top: dict[str, float]) -> None:
    assert likelihood(read(served(likely("Yes", [("Yes", top)]))), harm={"yes"}, other={"no"}) is None


_JSON: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.just(-(10**400)) | st.floats() | st.text(max_size=6),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["choices", "message", "content", "text", "logprobs", "tokens", "top_logprobs", "token", "logprob"]
            ),
            inner,
        )
    ),
    max_leaves=16,
)


@given(_JSON, st.sampled_from(["choices", "choice", "message", "logprobs", "content"]))
def test_any_json_is_an_answer_or_none(value: object, where: str) -> None:
    body = served("Yes")
    choice = body["choices"][0]
    choice["logprobs"] = {
        "content": [{"token": "Yes", "top_logprobs": value}],
        "tokens": ["Yes"],
        "top_logprobs": [value],
    }
    if where == "choices":
        body["choices"] = value
    elif where == "choice":
        body["choices"] = [value]
    elif where != "content":
        choice[where] = value
    for read in (chat_answer, text_answer):
        try:
            answer = read(body)
        except JudgeError as error:
            assert error.why == "judge_nonsense"  # noqa: PT017 both ends are right, and nothing else is
            continue
        assert isinstance(answer.text, str)
        found = likelihood(answer, harm={"yes"}, other={"no"})
        assert found is None or (0 <= found.p <= 1 and 0 <= found.mass <= 1)


def test_llama_cpps_shape_is_read() -> None:
    body = served(likely("No", [("No", {"No": 0.9, "Yes": 0.1})]))
    logprobs = body["choices"][0]["logprobs"]
    del logprobs["tokens"], logprobs["top_logprobs"]
    found = likelihood(text_answer(body), harm={"yes"}, other={"no"})
    assert found is not None
    assert found.p == pytest.approx(0.1)


def test_thoughts_are_left_out() -> None:
    assert unthought("<think>\nno\n</think>\nyes") == "\nyes"
    assert unthought("yes </think>") == "yes </think>"
    assert unthought(" <think>\nno <score> no </score>") == ""
