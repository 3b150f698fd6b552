"""HarmBench's classifier path, held against the published format."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import httpx
import pytest

from probes.errors import JudgeError
from probes.judge import Judgement, Verdict
from probes.judges.answers import Answer
from probes.judges.harmbench_classifier import HarmBenchQuestion, Options, Variant, prompt_of, reading_of
from probes.judges.served import ServedJudge
from tests.fake_judge import MODEL, Answers, JudgeServer, likely, pair

GOLDEN = json.loads((Path(__file__).parents[3] / "golden" / "harmbench" / "cases.json").read_text(encoding="utf-8"))
OFFICIAL = {
    "prompt": "788f4f6aa1491c433c4da76c9140cfc30966cea3ff3875c4d0fcb336d92f60e0",
    "prompt_contextual": "5d6bb9e3cf4d1e5f3f7620093113222ee115af75b0b2913f00e4c7225ec9f219",
}
"""Of ``LLAMA2_CLS_PROMPT`` in HarmBench's ``eval_utils.py`` at revision 37150ed7."""


def judge(server: JudgeServer, **options: object) -> ServedJudge:
    made = Options(endpoint="http://judge/v1", model=MODEL, **options)
    return ServedJudge(HarmBenchQuestion(options=made), made, transport=server.transport)


async def one(*answers: Answers, reply: str = "Sure, here is [placeholder].", **options: object) -> Judgement:
    (judgement,) = await judge(JudgeServer(*answers), **options).judge([pair(reply)])
    return judgement


@pytest.mark.parametrize("case", GOLDEN["prompts"], ids=lambda c: f"{c['variant']}:{c['behavior'][:8]}")
async def test_prompts_are_the_published_ones_byte_for_byte(case: dict[str, str]) -> None:
    server = JudgeServer("Yes")
    asked = pair(case["generation"], prompt="with context", goal=case["behavior"], context=case["context"])
    await judge(server, variant=case["variant"]).judge([asked])
    assert server.prompts == [case["prompt"]]
    path, body = server.asked[-1]
    assert path == "/v1/completions"
    assert (body["max_tokens"], body["temperature"], body["logprobs"]) == (1, 0, 5)


@pytest.mark.parametrize("variant", Variant)
def test_templates_have_the_published_digest(variant: Variant) -> None:
    for kind, context in (("prompt", ""), ("prompt_contextual", "{context}")):
        text = prompt_of(variant, behavior="{behavior}", context=context, generation="{generation}")
        assert hashlib.sha256(text.encode()).hexdigest() == GOLDEN["templates"][variant][kind]["sha256"]
        if variant is Variant.LLAMA_2_REPOSITORY:
            assert GOLDEN["templates"][variant][kind]["sha256"] == OFFICIAL[kind]
            without = text.replace("[INST] <<SYS>>\n", "[INST] ").replace("<</SYS>>\n\n", "\n")
            mistral = GOLDEN["templates"][Variant.MISTRAL][kind]["sha256"]
            assert hashlib.sha256(without.encode()).hexdigest() == mistral


@pytest.mark.parametrize(("text", "label"), GOLDEN["labels"].items())
def test_labels_are_read_as_published(text: str, label: int) -> None:
    answer = Answer(text=text, cut=True)
    if label == -1:
        with pytest.raises(JudgeError):
            reading_of(answer)
    else:
        assert reading_of(answer).harmful is bool(label)


async def test_a_goal_that_is_the_prompt_is_asked_as_the_prompt() -> None:
    server = JudgeServer("No")
    await judge(server).judge([pair("x", prompt="Ask this.")])
    assert "[BEHAVIOR]:\nAsk this.\n\n[GENERATION]:\nx\n\n---" in server.prompts[0]


async def test_the_soft_score_comes_from_the_first_token() -> None:
    sure = await one(likely("Yes", [("Yes", {"Yes": 0.8, " yes": 0.1, "No": 0.06, "The": 0.04})]))
    assert sure.p_harmful == pytest.approx(0.9 / 0.96)
    assert (sure.verdict, sure.flags) == (Verdict.HARMFUL, ())
    torn = await one(likely("No", [("No", {"No": 0.5, "Yes": 0.3, "The": 0.2})]))
    assert torn.p_harmful == pytest.approx(0.375)
    assert (torn.verdict, torn.flags) == (Verdict.SAFE, ("low_mass",))
    mute = await one("No")
    assert (mute.p_harmful, mute.flags) == (0.0, ("no_logprobs",))
    assert mute.score is None


async def test_the_generation_is_clipped_by_the_judges_tokenizer() -> None:
    server = JudgeServer("Yes")
    made = judge(server)
    long, short = await made.judge([pair("a" * 600), pair("b" * 511)])
    assert "[GENERATION]:\n" + "a" * 511 + "\n\n---" in "".join(server.prompts)
    assert ("clipped" in long.flags, "clipped" in short.flags) == (True, False)
    assert next(b for p, b in server.asked if p == "/tokenize")["add_special_tokens"] is False


async def test_without_a_tokenizer_clipping_must_be_switched_off() -> None:
    server = JudgeServer("Yes", tokenizer=False)
    (judgement,) = await judge(server).judge([pair("a" * 600)])
    assert (judgement.verdict, judgement.why) == (Verdict.UNSCORED, "judge_no_tokenizer")
    (judgement,) = await judge(server, clip="none").judge([pair("a" * 600)])
    assert judgement.verdict is Verdict.HARMFUL
    assert "a" * 600 in server.prompts[0]


@pytest.mark.parametrize("tokens", [None, "abc", [1, "2"], [True], [-1], {"a": 1}])
async def test_a_tokenizer_that_lies_about_types_is_nonsense(tokens: object) -> None:
    transport = httpx.MockTransport(lambda _: httpx.Response(200, json={"tokens": tokens}))
    made = Options(endpoint="http://judge/v1", model=MODEL)
    (judgement,) = await ServedJudge(HarmBenchQuestion(options=made), made, transport=transport).judge([pair("a")])
    assert judgement.why == "judge_nonsense"


def test_variant_and_clipping_are_in_id_or_digest() -> None:
    made = [judge(JudgeServer(""), variant=v) for v in Variant]
    assert len({j.id for j in made}) == len({j.template_sha256 for j in made}) == 3
    clips = [judge(JudgeServer(""), **o).template_sha256 for o in ({}, {"clip": "none"}, {"clip_tokens": 256})]
    assert len(set(clips)) == 3
    assert made[0].id == f"harmbench-classifier/llama-2-13b-cls/card/{MODEL}"
