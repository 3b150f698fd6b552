"""Signed JSON, and keys that change."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json

import pytest

from monitor.errors import PluginError
from monitor.notifier import Notification
from monitor.plugins import make_plugin
from tests.receiver import Request, receiving
from tests.unit.monitor.notifiers.samples import ESCALATED, MANY

NEW, OLD = "whsec_" + base64.b64encode(b"n" * 32).decode(), "a long old secret in words"


async def sent(notification: Notification, *secrets: str) -> Request:
    async with receiving() as hook:
        channel = make_plugin("alignd.notifiers", "webhook", {"url": hook.url, "secrets": secrets}, where="x")
        await channel.send(notification)
        await channel.aclose()
        (got,) = hook.got
    return got


def verified(got: Request, key: bytes) -> bool:
    """Verify as a receiver does, by the published rule and not by our code."""
    signed = f"{got.headers['webhook-id']}.{got.headers['webhook-timestamp']}.".encode() + got.body
    ours = "v1," + base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
    return ours in got.headers["webhook-signature"].split(" ")


@pytest.mark.parametrize("notification", [ESCALATED, MANY], ids=["one", "digest"])
async def test_what_arrives_is_the_notification(notification: Notification) -> None:
    got = await sent(notification, OLD)
    said = json.loads(got.body)
    assert Notification.from_json(said) == notification
    assert (said["schema"], said["id"]) == (1, got.headers["webhook-id"])
    assert got.headers["content-type"] == "application/json"


async def test_either_key_verifies_while_one_takes_the_others_place() -> None:
    got = await sent(ESCALATED, NEW, OLD)
    assert verified(got, b"n" * 32)
    assert verified(got, OLD.encode())
    assert not verified(got, b"x" * 32)
    assert not verified(Request(path="", headers=got.headers, body=got.body + b" "), OLD.encode())


@pytest.mark.parametrize(
    ("secrets", "words"),
    [([], "secrets"), (["short"], "at least 16 bytes"), (["whsec_***"], "base64"), (["whsec_YQ=="], "at least 16")],
)
def test_a_key_that_is_none_is_refused(secrets: list[str], words: str) -> None:
    with pytest.raises(PluginError, match=words) as caught:
        make_plugin("alignd.notifiers", "webhook", {"url": "http://a", "secrets": secrets}, where="notifications.x")
    assert "notifications.x" in str(caught.value)
    assert "short" not in str(caught.value)


def test_authorities_that_cannot_be_read_are_named() -> None:
    options = {"url": "http://a", "secrets": [OLD], "ca_file": "/nowhere.pem"}
    with pytest.raises(PluginError, match=r"/nowhere\.pem can't be used"):
        make_plugin("alignd.notifiers", "webhook", options, where="x")
