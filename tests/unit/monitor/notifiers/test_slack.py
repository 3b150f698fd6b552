"""Blocks of a Slack-compatible web hook."""

from __future__ import annotations

import json

import pytest

from monitor.errors import NotSent
from monitor.notifiers.slack import payload
from monitor.plugins import make_plugin
from tests.receiver import answer, receiving
from tests.unit.monitor.notifiers.samples import ESCALATED, MANY


async def test_it_is_posted_as_blocks() -> None:
    async with receiving() as hook:
        channel = make_plugin("alignd.notifiers", "slack", {"url": hook.url}, where="x")
        await channel.send(ESCALATED)
        await channel.aclose()
        said = json.loads(hook.got[0].body)
    assert [b["type"] for b in said["blocks"]] == ["header", "section", "context", "actions"]
    assert said["blocks"][3]["elements"][0]["url"] == ESCALATED.url
    assert "prod-20260101-000000" in said["blocks"][2]["elements"][0]["text"]


def test_nothing_is_markup() -> None:
    section = payload(ESCALATED)["blocks"][1]["text"]["text"]
    assert section == "no last known good release; set &lt;last_known_good&gt; &amp; try again"


def test_a_digest_keeps_to_what_slack_takes() -> None:
    said = payload(MANY)
    assert said["text"].endswith("60 notifications of 60 targets")
    assert len(said["blocks"][0]["text"]["text"]) <= 150
    assert len(said["blocks"][1]["text"]["text"]) <= 3000
    assert said["blocks"][1]["text"]["text"].endswith("• t59: escalated"), "the newest are shown"
    assert len(said["blocks"]) == 3, "no page, no button"


@pytest.mark.parametrize(
    ("said", "words"),
    [
        (answer(200, "<html>Log in</html>", content_type="text/html"), "a web page answered"),
        (answer(200, '{"ok": false}', content_type="application/json"), "not taken"),
        (answer(200, '{"success": false}'), "not taken"),
        (answer(403, "invalid_token"), "answered 403"),
    ],
)
async def test_an_answer_that_only_looks_fine_is_none(said: bytes, words: str) -> None:
    async with receiving(said) as hook:
        channel = make_plugin("alignd.notifiers", "slack", {"url": hook.url}, where="x")
        with pytest.raises(NotSent, match=words):
            await channel.send(ESCALATED)


@pytest.mark.parametrize("body", ["ok", '{"ok": true}', '{"success": true}', ""])
async def test_those_who_take_the_same_say_so_in_their_own_way(body: str) -> None:
    async with receiving(answer(200, body)) as hook:
        channel = make_plugin("alignd.notifiers", "slack", {"url": hook.url}, where="x")
        await channel.send(ESCALATED)
