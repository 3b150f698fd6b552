"""Notifier ``webhook``: JSON, signed as Standard Webhooks says (HMAC-SHA256 over id, time and body)."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated

from pydantic import AfterValidator, Field, SecretStr

from monitor.notifier import Notification, Notifier
from monitor.notifiers.posting import Poster, PostOptions
from monitor.secret import Secret

__all__ = ["Options", "Webhook", "key_of", "make", "signature"]

_PREFIX = "whsec_"
_KEY_BYTES_MIN = 16


def _strong(secret: SecretStr) -> SecretStr:
    try:
        long_enough = len(key_of(secret.get_secret_value())) >= _KEY_BYTES_MIN
    except binascii.Error:
        raise ValueError(f"what follows {_PREFIX} must be base64") from None
    if not long_enough:
        raise ValueError(f"must be at least {_KEY_BYTES_MIN} bytes; `openssl rand -base64 32` makes one")
    return secret


class Options(PostOptions):
    """See docs/howto/notifications.md."""

    secrets: tuple[Annotated[Secret, AfterValidator(_strong)], ...] = Field(min_length=1, max_length=4)
    """Keys that each message is signed with. Two while one takes the other's place: receivers accept either."""


def make(options: Options) -> Notifier:
    """Return the channel.

    Raises:
        PluginError: The file of authorities can't be read.
    """
    return Webhook(poster=Poster(options), keys=tuple(key_of(s.get_secret_value()) for s in options.secrets))


@dataclass(frozen=True, slots=True, kw_only=True)
class Webhook:
    """Posts each notification as it is."""

    poster: Poster
    keys: Sequence[bytes]

    async def send(self, notification: Notification) -> None:
        """Post it, signed now: an old signature can't be played again for long."""
        body = json.dumps(notification.to_json()).encode()
        at = int(datetime.now(UTC).timestamp())
        signed = " ".join(signature(key, notification.id, at, body) for key in self.keys)
        await self.poster.post(
            body,
            {"content-type": "application/json", "webhook-id": notification.id, "webhook-timestamp": str(at),
             "webhook-signature": signed},
        )  # fmt: skip

    async def aclose(self) -> None:
        """Hold nothing."""


def key_of(secret: str) -> bytes:
    """Return a secret's bytes: base64 behind ``whsec_``, else its text.

    Raises:
        binascii.Error: What follows ``whsec_`` is no base64.
    """
    if secret.startswith(_PREFIX):
        return base64.b64decode(secret.removeprefix(_PREFIX), validate=True)
    return secret.encode()


def signature(key: bytes, identity: str, at: int, body: bytes) -> str:
    """Sign a message: ``v1,`` and the base64 of HMAC-SHA256 over ``id.time.body`` (standardwebhooks.com, 2023)."""
    signed = hmac.new(key, f"{identity}.{at}.".encode() + body, hashlib.sha256)
    return "v1," + base64.b64encode(signed.digest()).decode()
