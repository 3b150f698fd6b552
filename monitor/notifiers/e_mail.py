"""Notifier ``e-mail``: SMTP, encrypted unless the settings say otherwise in so many words."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import html
import smtplib
import socket
import ssl
from collections.abc import Iterator
from dataclasses import dataclass, field
from email.message import EmailMessage
from email.utils import format_datetime, parseaddr
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from monitor.errors import NotificationRefused, NotSent
from monitor.notifier import Kind, Notification, Notifier
from monitor.notifiers.trust import trusting
from monitor.plain_text import plain
from monitor.secret import Secret

__all__ = ["EMail", "Options", "Security", "mail", "make"]

_SUBJECT, _ANSWER, _PARTS = 200, 120, 50


class Security(StrEnum):
    """How the connection is encrypted."""

    STARTTLS = "starttls"
    """From the first command that matters on; a server that does not offer it gets nothing."""
    TLS = "tls"
    """From the first byte on, mostly on port 465."""
    NONE = "none"
    """Not at all: for a relay on this host."""


def _address(text: str) -> str:
    name, domain = parseaddr(text)[1].rpartition("@")[::2]
    if not (name and domain and text.isprintable() and text.isascii()):
        raise ValueError(f"{text!r} is no e-mail address; write name@domain, or Name <name@domain>")
    return text


Address = Annotated[str, AfterValidator(_address)]


class Options(BaseModel):
    """See docs/howto/notifications.md."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    host: str = Field(min_length=1)
    """Name of the mail server, as in its certificate."""
    port: int = Field(default=587, ge=1, le=65535)
    """Port: 587 for starttls, mostly 465 for tls."""
    security: Security = Security.STARTTLS
    """starttls, tls, or none."""
    username: str = ""
    """User to log in as; empty where the server takes mail without."""
    password: Secret | None = None
    """Of that user."""
    sender: Address
    """Address that mails come from."""
    recipients: tuple[Address, ...] = Field(min_length=1)
    """Addresses that they go to."""
    timeout_seconds: float = Field(default=30.0, gt=0, le=120)
    """Longest wait for a whole delivery, in seconds."""
    ca_file: Path | None = None
    """PEM file of the authorities to trust in place of the system's; certificates are always verified."""

    @model_validator(mode="after")
    def _logs_in_safely(self) -> Self:
        if bool(self.username) != (self.password is not None):
            raise ValueError("username and password go together; give both or neither")
        if self.password is not None and self.security is Security.NONE:
            raise ValueError("security: none would send the password in the clear; use starttls or tls")
        return self


def make(options: Options) -> Notifier:
    """Return the channel.

    Raises:
        PluginError: The file of authorities can't be read.
    """
    return EMail(options=options, context=trusting(options.ca_file))


@dataclass(frozen=True, slots=True, kw_only=True)
class EMail:
    """Sends each notification as a mail."""

    options: Options
    context: ssl.SSLContext

    async def send(self, notification: Notification) -> None:
        """Send it, by a thread that ends when the time is up or this is cancelled."""
        dialog = _Dialog(options=self.options, context=self.context)
        where = f"{self.options.host}:{self.options.port}"
        try:
            async with asyncio.timeout(self.options.timeout_seconds):
                await asyncio.to_thread(dialog.deliver, mail(notification, self.options))
        except TimeoutError as error:
            raise NotSent(f"{where}: not taken within {self.options.timeout_seconds:g} s") from error
        except smtplib.SMTPDataError as error:
            kind = NotificationRefused if error.smtp_code >= 500 else NotSent
            raise kind(f"{where}: {_said(error)}") from error
        except smtplib.SMTPException as error:
            raise NotSent(f"{where}: {_said(error)}") from error
        except (OSError, ValueError) as error:
            raise NotSent(f"{where}: {type(error).__name__} ({plain(error, most=_ANSWER)})") from error
        finally:
            dialog.end()

    async def aclose(self) -> None:
        """Hold nothing."""


@dataclass(slots=True, kw_only=True)
class _Dialog:
    """One delivery, which another thread may end at any moment."""

    options: Options
    context: ssl.SSLContext
    smtp: smtplib.SMTP | None = field(default=None, init=False)

    def deliver(self, message: EmailMessage) -> None:
        options, seconds = self.options, self.options.timeout_seconds
        name = parseaddr(options.sender)[1].rpartition("@")[2]
        smtp = (
            smtplib.SMTP_SSL(local_hostname=name, timeout=seconds, context=self.context)
            if options.security is Security.TLS
            else smtplib.SMTP(local_hostname=name, timeout=seconds)
        )
        self.smtp = smtp
        # Its constructor would set this and connect, and nobody could end that.
        smtp._host = options.host  # type: ignore[attr-defined]
        try:
            smtp.connect(options.host, options.port)
            smtp.ehlo_or_helo_if_needed()
            if options.security is Security.STARTTLS:
                smtp.starttls(context=self.context)
            if options.password is not None:
                smtp.login(options.username, options.password.get_secret_value())
            smtp.send_message(message)
            with contextlib.suppress(OSError, smtplib.SMTPException):
                smtp.quit()  # it is taken already
        finally:
            smtp.close()

    def end(self) -> None:
        """Wake the thread, if it still waits for the server."""
        if self.smtp is not None and self.smtp.sock is not None:
            with contextlib.suppress(OSError):
                socket.socket.shutdown(self.smtp.sock, socket.SHUT_RDWR)


def mail(notification: Notification, options: Options) -> EmailMessage:
    """Write a notification as a mail, plain and as HTML; the same one has the same Message-ID."""
    said, message = notification, EmailMessage()
    domain = parseaddr(options.sender)[1].rpartition("@")[2]
    message["From"], message["To"] = options.sender, ", ".join(options.recipients)
    message["Subject"] = plain(f"[alignd] {said.severity.value}: {said.title}", most=_SUBJECT)
    message["Date"] = format_datetime(said.at)
    message["Message-ID"] = _message_id(said.id, domain)
    message["Auto-Submitted"] = "auto-generated"
    if said.incident:
        message["References"] = _message_id(said.incident, domain)
    message.set_content("\n".join([said.text, "", *_parts(said), *(f"{k}: {v}" for k, v in _facts(said))]) + "\n")
    rows = "".join(f"<tr><td>{html.escape(k)}</td><td>{html.escape(v)}</td></tr>" for k, v in _facts(said))
    parts = "".join(f"<li>{html.escape(p)}</li>" for p in _parts(said))
    page = f"<h2>{html.escape(said.title)}</h2><p>{html.escape(said.text)}</p>"
    message.add_alternative(f"<html><body>{page}<ul>{parts}</ul><table>{rows}</table></body></html>", subtype="html")
    return message


def _message_id(identity: str, domain: str) -> str:
    return f"<{hashlib.sha256(identity.encode()).hexdigest()[:32]}@{domain}>"


def _parts(said: Notification) -> list[str]:
    if said.kind is not Kind.DIGEST:
        return []
    return [f"{p.at:%H:%M:%S} {p.severity.value}: {p.title}" for p in said.parts[-_PARTS:]]


def _facts(said: Notification) -> Iterator[tuple[str, str]]:
    facts = {
        "target": said.target, "release": said.release, "incident": said.incident, "state": said.state,
        "at": f"{said.at:%Y-%m-%d %H:%M:%S} UTC", "page": said.url, "id": said.id,
    }  # fmt: skip
    yield from ((k, v) for k, v in facts.items() if v)


def _said(error: smtplib.SMTPException) -> str:
    """Say what the server answered, cut short."""
    if isinstance(error, smtplib.SMTPResponseException):
        answer = error.smtp_error if isinstance(error.smtp_error, str) else error.smtp_error.decode(errors="replace")
        return f"{error.smtp_code} {plain(answer, most=_ANSWER)}"
    if isinstance(error, smtplib.SMTPRecipientsRefused):
        return "no recipient was taken: " + plain(
            "; ".join(f"{code}" for code, _ in error.recipients.values()), most=_ANSWER
        )
    return f"{type(error).__name__}: {plain(error, most=_ANSWER)}"
