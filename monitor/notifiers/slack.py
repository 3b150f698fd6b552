"""Notifier ``slack``: an incoming webhook of Slack's, or of whoever takes the same (Mattermost, Rocket.Chat, …)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from monitor.errors import NotSent
from monitor.notifier import Kind, Notification, Notifier, Severity
from monitor.notifiers.posting import Answer, Poster, PostOptions

__all__ = ["Options", "Slack", "make", "payload"]

_MARKS: Mapping[Severity, str] = {
    Severity.INFO: ":white_check_mark:", Severity.WARNING: ":warning:", Severity.CRITICAL: ":rotating_light:"
}  # fmt: skip
_TITLE, _TEXT, _PARTS = 140, 2000, 20
"""Characters that Slack takes in a header (150) and a section (3000), with some room, and lines of a digest."""


class Options(PostOptions):
    """See docs/howto/notifications.md."""


def make(options: Options) -> Notifier:
    """Return the channel.

    Raises:
        PluginError: The file of authorities can't be read.
    """
    return Slack(poster=Poster(options))


@dataclass(frozen=True, slots=True, kw_only=True)
class Slack:
    """Posts each notification as a few blocks."""

    poster: Poster

    async def send(self, notification: Notification) -> None:
        """Post it."""
        body = json.dumps(payload(notification)).encode()
        answer = await self.poster.post(body, {"content-type": "application/json"}, read=True)
        if why := _not_taken(answer):
            raise NotSent(f"{why}; is the address the one of an incoming webhook?")

    async def aclose(self) -> None:
        """Hold nothing."""


def payload(notification: Notification) -> dict[str, Any]:
    """Lay a notification out in blocks; nothing of it is markup."""
    said, mark = notification, ":white_check_mark:" if notification.resolved else _MARKS[notification.severity]
    title = f"{mark} {said.title}"[:_TITLE]
    facts = (said.severity.value, said.target, said.release, said.incident, f"{said.at:%Y-%m-%d %H:%M:%S} UTC")
    blocks: list[dict[str, Any]] = [
        {"type": "header", "text": {"type": "plain_text", "text": title, "emoji": True}},
        {"type": "section", "text": {"type": "mrkdwn", "text": _lines(said)[:_TEXT]}},
        {"type": "context", "elements": [{"type": "mrkdwn", "text": " · ".join(map(_escaped, filter(None, facts)))}]},
    ]
    if said.url:
        button = {"type": "button", "text": {"type": "plain_text", "text": "Open"}, "url": said.url}
        blocks.append({"type": "actions", "elements": [button]})
    return {"text": _escaped(title), "blocks": blocks}


def _lines(said: Notification) -> str:
    if said.kind is not Kind.DIGEST:
        return _escaped(said.text)
    lines = [f"• {_escaped(p.title)}" for p in said.parts[-_PARTS:]]
    return "\n".join([_escaped(said.text), *lines])


def _escaped(text: str) -> str:
    """Take Slack's three control characters out of a text, and what makes words bold or a link."""
    for mark, entity in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;")):
        text = text.replace(mark, entity)
    return text


def _not_taken(answer: Answer) -> str:
    """Say why a 2xx is none: a login page in between, or a refusal in JSON."""
    if answer.content_type == "text/html":
        return "a web page answered"
    try:
        said = json.loads(answer.text)
    except ValueError:
        return ""
    refused = isinstance(said, dict) and False in (said.get("ok"), said.get("success"))
    return "the answer says that it was not taken" if refused else ""
