"""A checkpoint in this process keeps a target's contract."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from probes.behavior import Behavior, BehaviorId
from probes.errors import PermanentTargetError
from probes.probe import Message, Probe, ProbeId, Sampling
from probes.testing import check_target
from remediation.checkpoints.chat import ChatModel, load
from remediation.reproduce.target import CheckpointTarget, message_ids
from tests.tiny import tiny_checkpoint


@pytest.fixture(scope="module")
def chat(tmp_path_factory: pytest.TempPathFactory) -> ChatModel:
    return load(tiny_checkpoint(tmp_path_factory.mktemp("tiny") / "model"))


def probe(text: str = "hello", *, role: str = "user", more: tuple[Message, ...] = (), max_tokens: int = 4) -> Probe:
    return Probe(
        id=ProbeId(f"s/{text}"), suite="s", behavior=Behavior(id=BehaviorId("b"), prompt=text, category="c"),
        attack="direct", messages=(Message(role=role, content=text), *more), sampling=Sampling(max_tokens=max_tokens),
        seed=1,
    )  # fmt: skip


async def test_it_keeps_the_contract(chat: ChatModel) -> None:
    await check_target(CheckpointTarget(chat, name="t", release="r@1"), probe())


async def test_what_is_asked_together_is_answered_together_and_each_its_own(chat: ChatModel) -> None:
    target = CheckpointTarget(chat, name="t", batch=3)
    asked = [probe(f"{i} " + "x" * (i % 4)) for i in range(8)]
    answers = await asyncio.gather(*map(target.complete, asked))
    assert [a.probe for a in answers] == [p.id for p in asked]
    assert tuple(a.text for a in answers) == chat.generate([p.behavior.prompt for p in asked], max_tokens=4)
    assert {a.finish_reason for a in answers} <= {"stop", "length"}
    assert len({a.latency_seconds for a in answers}) == 1, "one round"
    await target.aclose()


async def test_systems_turns_and_first_words_are_put_as_the_template_puts_them(chat: ChatModel) -> None:
    turns = [Message(role="system", content="be"), Message(role="user", content="hi"),
             Message(role="assistant", content="yo"), Message(role="user", content="so")]  # fmt: skip
    decode = chat.tokenizer.decode
    assert decode(message_ids(chat, turns)).replace(" ", "") == "<u>be<u>hi<u>yo<u>so<a>"
    opened = decode(message_ids(chat, [turns[1], Message(role="assistant", content="Sure, here")]))
    assert opened.replace(" ", "").endswith("Sure,here")


async def test_the_likeliest_first_tokens_are_told(chat: ChatModel) -> None:
    target = CheckpointTarget(chat, name="t")
    asked = replace(probe(), sampling=Sampling(max_tokens=1, top_logprobs=5))
    told, other = await asyncio.gather(target.complete(asked), target.complete(probe("a longer one")))
    assert [p for _, p in told.first_token] == sorted((p for _, p in told.first_token), reverse=True)
    assert (len(told.first_token), other.first_token) == (5, ())
    assert told.first_token[0][0].strip() == told.text.strip()


@pytest.mark.parametrize(
    ("asked", "reason", "words"),
    [(replace(probe(), sampling=Sampling(temperature=0.7)), "temperature", "temperature 0 only, not 0.7"),
     (probe("x" * 3000), "too_long", "tokens and 4 of an answer are more than its")],
)  # fmt: skip
async def test_what_it_cannot_answer_says_why(chat: ChatModel, asked: Probe, reason: str, words: str) -> None:
    with pytest.raises(PermanentTargetError, match=words) as caught:
        await CheckpointTarget(chat, name="t").complete(asked)
    assert caught.value.reason == reason


async def test_a_closed_one_answers_no_more(chat: ChatModel) -> None:
    target = CheckpointTarget(chat, name="t")
    await target.aclose()
    with pytest.raises(PermanentTargetError, match="closed"):
        await target.complete(probe())


async def test_no_template_is_a_refusal(tmp_path: Path) -> None:
    bare = load(tiny_checkpoint(tmp_path / "m"))
    bare.tokenizer.chat_template = None
    with pytest.raises(PermanentTargetError, match="give the tokenizer a chat template"):
        await CheckpointTarget(bare, name="t").complete(probe())
