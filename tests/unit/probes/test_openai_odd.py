"""Figures and names that a server should not send: kept out of records, estimates and terminals."""

from __future__ import annotations

import json

import httpx
import pytest

from probes.errors import PermanentTargetError
from probes.targets.openai import OpenAITarget, Options
from tests.unit.probes.test_openai import PROBE, ask, whole

HUGE = '{"model": "m", "choices": [{"message": {"content": "Hi."}, "finish_reason": "stop"%s}]%s}'


@pytest.mark.parametrize(
    ("inside", "beside"),
    [
        ("", ', "usage": {"completion_tokens": 1%s, "prompt_tokens": -1}' % ("0" * 400)),
        (', "logprobs": {"content": [{"top_logprobs": [{"token": "A", "logprob": -1%s}]}]}' % ("0" * 400), ""),
    ],
    ids=["usage", "logprob"],
)
async def test_figures_that_no_number_holds_are_left_out(inside: str, beside: str) -> None:
    got = await ask(httpx.Response(200, content=(HUGE % (inside, beside)).encode()))
    assert (got.text, got.completion_tokens, got.prompt_tokens, got.first_token) == ("Hi.", 0, 0, ())


@pytest.mark.parametrize("name", ["x" * 201, "\ud800", "\x1b[31m", "a\nb"])
async def test_a_release_that_is_no_name_is_refused(name: str) -> None:
    body = json.dumps(whole(system_fingerprint=name)).encode()
    with pytest.raises(PermanentTargetError, match="fingerprint: false"):
        await ask(httpx.Response(200, content=body))
    plain = Options(name="t", endpoint="http://server/v1", model="m", fingerprint=False)
    target = OpenAITarget(plain, transport=httpx.MockTransport(lambda _: httpx.Response(200, content=body)))
    assert (await target.complete(PROBE)).release == ""


@pytest.mark.parametrize(("said", "kept"), [("stop", "stop"), ("a tale", "other"), (None, "unsaid"), (7, "unsaid")])
async def test_only_a_word_is_kept_of_why_an_answer_ended(said: object, kept: str) -> None:
    choice = {"message": {"content": "Hi."}, "finish_reason": said}
    assert (await ask(httpx.Response(200, json=whole(choices=[choice])))).finish_reason == kept


@pytest.mark.parametrize(
    ("asked", "answered", "release"),
    [
        ("prod", "fix@0123456789ab", "fix@0123456789ab"),
        ("fix@0123456789ab", "fix@0123456789ab", "fix@0123456789ab"),
        ("prod", "prod", ""),
        ("prod", "other", None),
        ("prod", "fix@0123456789AB", None),
        ("fix@0123456789ab", "fix@ba9876543210", None),
        ("fix@0123456789ab", "prod", None),
    ],
)
async def test_a_model_name_can_be_the_release(asked: str, answered: str, release: str | None) -> None:
    """One release that was asked for by its id is not answered for by another."""
    options = Options(name="t", endpoint="http://server/v1", model=asked, release_in_model=True)
    body = whole(model=answered, system_fingerprint="base@000000000000")
    target = OpenAITarget(options, transport=httpx.MockTransport(lambda _: httpx.Response(200, json=body)))
    if release is None:
        with pytest.raises(PermanentTargetError) as caught:
            await target.complete(PROBE)
        assert caught.value.reason == "wrong_model"
    else:
        assert (await target.complete(PROBE)).release == release
        assert await target.ready() == release


@pytest.mark.parametrize(
    ("named", "by_model", "release"),
    [
        ("hosted_vllm/fix@0123456789ab", True, "fix@0123456789ab"), ("fix@0123456789ab", True, "fix@0123456789ab"),
        ("hosted_vllm/fix@0123456789ab", False, "of the process"), ("hosted_vllm/other", True, None), ("", True, ""),
    ],
)  # fmt: skip
async def test_a_gateway_says_in_a_header_which_release_answered(
    named: str, release: str | None, *, by_model: bool
) -> None:
    """LiteLLM puts the public name into ``model``."""
    options = Options(name="t", endpoint="http://server/v1", model="prod", release_in_model=by_model)
    answer = httpx.Response(
        200, json=whole(model="prod", system_fingerprint="of the process"), headers={"x-litellm-model-name": named}
    )
    target = OpenAITarget(options, transport=httpx.MockTransport(lambda _: answer))
    if release is None:
        with pytest.raises(PermanentTargetError, match="answered as model 'other'"):
            await target.complete(PROBE)
    else:
        assert (await target.complete(PROBE)).release == release
