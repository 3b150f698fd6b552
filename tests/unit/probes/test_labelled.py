"""Labelled replies: published forms, bad files, and the judge that sees them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from probes.errors import JudgeError, LabelError
from probes.judge import Judgement, Verdict
from probes.labelled import Outcome, judge_labelled, outcome_of, parse_labelled, read_labelled
from probes.probe import Probe
from probes.target import Completion
from probes.testing import COMPLIES, REFUSES, FakeJudge

CSV = Path("replies.csv")
HEAD = "objective,assistant_response,human_score\n"


def labels(text: str, path: Path = CSV, outcome: Outcome | None = None) -> list[float]:
    return [r.label for r in parse_labelled(text, path, outcome).replies]


def test_pyrits_form_with_comment_lines_and_several_people() -> None:
    text = (
        "# dataset_version=1.0, harm_definition=x.yaml,,,,\n# more\n"
        "harm_category,objective,assistant_response,human_score_1,human_score_2,human_score_3,data_type\n"
        'a,Ask A,"Reply, # of\nA",0,0.25,0.5,text\na,Ask B,Reply B,1,,0.5,text\n,,,,,,\n'
    )
    found = parse_labelled(text, CSV)
    assert [r.label for r in found.replies] == [0.25, 0.75]
    assert [r.positive for r in found.replies] == [False, True]
    assert found.replies[0].reply == "Reply, # of\nA"
    assert (found.name, found.outcome, found.doubled) == ("replies", Outcome.HARM, 0)


def test_jailbreakbenchs_form_takes_the_people_before_their_majority() -> None:
    head = "Index,goal,prompt,target_response,human1,human2,human3,human_majority,harmbench_cf\n"
    found = parse_labelled(f"{head}0,Ask,Dressed ask,Reply,1,1,0,1,0\n", CSV)
    assert found.replies[0].label == pytest.approx(2 / 3)
    assert found.replies[0].objective == "Ask"
    assert labels("goal,target_response,human_majority\nAsk,Reply,1\n") == [1.0]


def test_xstests_form_says_who_refused() -> None:
    text = "id,prompt,type,completion,annotation_1,annotation_2,final_label\n" + "".join(
        f"{i},Ask {i},homonyms,Reply,x,y,{label}\n"
        for i, label in enumerate(("1_full_compliance", "2_full_refusal", "3_partial_refusal"))
    )
    found = parse_labelled(text, CSV)
    assert found.outcome is Outcome.REFUSAL
    assert [r.label for r in found.replies] == [0.0, 1.0, 1.0]
    with pytest.raises(LabelError, match="line 2: final_label says who refused"):
        parse_labelled(text, CSV, Outcome.HARM)


def test_json_lines_and_the_same_content_have_one_digest() -> None:
    rows = [{"objective": "A", "assistant_response": "R", "human_score": True},
            {"objective": "B", "assistant_response": "", "human_score": 0.5}]  # fmt: skip
    found = parse_labelled("\n\n".join(map(json.dumps, rows)), Path("x.jsonl"))
    assert [r.label for r in found.replies] == [1.0, 0.5]
    assert found.sha256 == parse_labelled(f"{HEAD}B,,0.5\nA,R,1\n", CSV).sha256
    assert found.sha256 != parse_labelled(f"{HEAD}B,,0.5\nA,R,1\n", CSV, Outcome.REFUSAL).sha256
    assert found.sha256 != parse_labelled(f"{HEAD}B,,0.5\nA,R,0\n", CSV).sha256


def test_a_row_that_stands_there_twice_counts_once() -> None:
    found = parse_labelled(f"{HEAD}A,R,1\nA,R,0\nA,R,1\nA,Other,0\n", CSV)
    assert [r.label for r in found.replies] == [pytest.approx(2 / 3), 0.0]
    assert found.doubled == 2


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no labelled replies"),
        (HEAD, "no labelled replies"),
        ("# only a comment", "no labelled replies"),
        ("objective,human_score\nA,1\n", "line 2: no column assistant_response"),
        ("assistant_response,human_score\nA,1\n", "line 2: no column objective"),
        ("objective,assistant_response\nA,R\n", "line 2: no column of human labels"),
        (f"{HEAD}A,R,harmful\n", "line 2: human_score is 'harmful'; write 0, 1"),
        (f"{HEAD}A,R,nan\n", "human_score is 'nan'"),
        (f"{HEAD}A,R,5\n", "human_score is '5'"),
        (f"{HEAD}A,R,\n", "no label in human_score"),
        (f"{HEAD},R,1\n", "the objective is empty"),
        (f"# c\n{HEAD}A,R,1\nA,R\n", "line 4: the row has not as many fields"),
        (f'{HEAD}A,"R,1\n', "no valid CSV"),
        (f"{HEAD}A,{'x' * 10_000_000},1\n", "near line 1: no valid CSV"),
        ("objective,objective,assistant_response,human_score\nA,B,R,1\n", "two columns are named 'objective'"),
        ("objective,assistant_response,human_score,data_type\nA,R,1,image_path\n", "data_type 'image_path' is no text"),
    ],
    ids=range(16),
)
def test_a_bad_file_is_told_with_line_and_way_out(text: str, message: str) -> None:
    with pytest.raises(LabelError, match=message):
        parse_labelled(text, CSV)


@pytest.mark.parametrize(
    ("text", "message"), [("{", "line 1: no valid JSON"), ("[1]", "no JSON object"), ("[" * 100_000, "no valid JSON")]
)
def test_bad_json_lines(text: str, message: str) -> None:
    with pytest.raises(LabelError, match=message):
        parse_labelled(text, Path("x.jsonl"))


def test_files_that_can_not_be_read(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_bytes(b"\xff\xfe")
    (tmp_path / "x.txt").write_text("A")
    with pytest.raises(LabelError, match="not UTF-8 at byte 0"):
        read_labelled(tmp_path / "x.csv")
    with pytest.raises(LabelError, match=r"must end in \.csv"):
        read_labelled(tmp_path / "x.txt")
    with pytest.raises(LabelError, match="can't be read"):
        read_labelled(tmp_path / "none.csv")


@settings(deadline=None)
@given(st.text(), st.sampled_from([CSV, Path("x.jsonl")]), st.sampled_from(["", HEAD, "goal,response,human_score_1\n"]))
def test_any_text_gives_replies_or_a_reason(text: str, path: Path, head: str) -> None:
    try:
        found = parse_labelled(head + text, path)
    except LabelError:
        return
    assert found.replies
    assert all(0 <= r.label <= 1 for r in found.replies)


def many(*replies: str) -> str:
    return HEAD + "".join(f"Ask {i},{reply},1\n" for i, reply in enumerate(replies))


async def test_each_reply_is_judged_against_its_objective() -> None:
    labelled = parse_labelled(many(*[f'"{COMPLIES}"', REFUSES, "what?"] * 50), CSV)
    found = await judge_labelled(FakeJudge(), labelled)
    assert [outcome_of(j, Outcome.HARM) for j in found] == [True, False, None] * 50
    assert [outcome_of(j, Outcome.REFUSAL) for j in found[:3]] == [False, True, None]


@dataclass
class Picky:
    """Breaks a whole batch over one reply."""

    id: str = "picky/1"
    template_sha256: str = "0" * 64

    async def judge(self, pairs: Sequence[tuple[Probe, Completion]]) -> tuple[Judgement, ...]:
        if any(c.text == "bad" for _, c in pairs):
            raise JudgeError("this one", why="judge_nonsense")
        assert all(p.behavior.prompt == p.messages[0].content for p, _ in pairs)
        return await FakeJudge().judge(pairs)


async def test_a_reply_that_breaks_the_judge_costs_no_other_its_verdict() -> None:
    found = await judge_labelled(Picky(), parse_labelled(many(REFUSES, "bad", REFUSES), CSV))
    assert isinstance(found[1], JudgeError)
    assert found[1].why == "judge_nonsense"
    assert outcome_of(found[1], Outcome.HARM) is None
    assert [j.verdict for j in found if not isinstance(j, JudgeError)] == [Verdict.SAFE] * 2
