"""Mails, to a real server that behaves and that doesn't."""

from __future__ import annotations

import asyncio
import email
import email.policy
import ssl
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from email.message import EmailMessage
from pathlib import Path

import pytest
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, Session

from monitor.errors import NotificationRefused, NotSent, PluginError
from monitor.notifiers.e_mail import Options, mail
from monitor.plugins import make_plugin
from tests.certificates import for_localhost
from tests.receiver import HANGS, receiving
from tests.unit.monitor.notifiers.samples import ESCALATED, MANY

PLAIN = {"host": "localhost", "security": "none", "sender": "alignd@site.test", "recipients": ["a@site.test"]}


@dataclass(slots=True)
class Box:
    """What a mail server takes, and what it says of a recipient and of a mail."""

    rcpt: str = "250 OK"
    data: str = "250 OK"
    mails: list[tuple[str, list[str], EmailMessage]] = field(default_factory=list)

    async def handle_RCPT(  # noqa: N802  (as aiosmtpd names it)
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        if self.rcpt.startswith("250"):
            envelope.rcpt_tos.append(address)
        return self.rcpt

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802
        if self.data.startswith("250"):
            assert isinstance(envelope.content, bytes)
            message = email.message_from_bytes(envelope.content, policy=email.policy.default)
            assert isinstance(message, EmailMessage)
            self.mails.append((envelope.mail_from or "", envelope.rcpt_tos, message))
        return self.data


@asynccontextmanager
async def serving(make: Callable[[], SMTP], tls: ssl.SSLContext | None = None) -> AsyncIterator[int]:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(make, "localhost", 0, ssl=tls)
    async with server:
        yield server.sockets[0].getsockname()[1]


async def send(port: int, **options: object) -> None:
    await make_plugin("alignd.notifiers", "e-mail", {**PLAIN, "port": port, **options}, where="x").send(ESCALATED)


def authenticator(server: SMTP, session: Session, envelope: Envelope, mechanism: str, data: object) -> AuthResult:
    good = (getattr(data, "login", b""), getattr(data, "password", b"")) == (b"alignd", b"a secret")
    return AuthResult(success=good, handled=False)


async def test_a_mail_goes_over_starttls_with_a_login(tmp_path: Path) -> None:
    context, authority = for_localhost(tmp_path)
    box, known = Box(), {"security": "starttls", "ca_file": str(authority), "username": "alignd"}

    def server() -> SMTP:
        return SMTP(box, hostname="localhost", tls_context=context, require_starttls=True, authenticator=authenticator,
                    auth_required=True)  # fmt: skip

    async with serving(server) as port:
        await send(port, **known, password="a secret")
        with pytest.raises(NotSent, match="535"):
            await send(port, **known, password="another")
        with pytest.raises(NotSent, match=r"CERTIFICATE_VERIFY_FAILED"):
            await send(port, **{**known, "ca_file": None}, password="a secret")
    ((sender, recipients, message),) = box.mails
    assert (sender, recipients) == ("alignd@site.test", ["a@site.test"])
    assert message["Subject"] == "[alignd] critical: prod: escalated: a person must look"
    assert message["Auto-Submitted"] == "auto-generated"


async def test_a_mail_goes_over_tls(tmp_path: Path) -> None:
    context, authority = for_localhost(tmp_path)
    box = Box()
    async with serving(lambda: SMTP(box, hostname="localhost"), context) as port:
        await send(port, security="tls", ca_file=str(authority))
    assert len(box.mails) == 1


async def test_without_starttls_nothing_goes_out() -> None:
    box = Box()
    async with serving(lambda: SMTP(box, hostname="localhost")) as port:
        with pytest.raises(NotSent, match="STARTTLS"):
            await send(port, security="starttls")
    assert box.mails == []


async def test_a_server_that_will_not_now_and_one_that_never_will() -> None:
    box = Box(data="451 try later")
    async with serving(lambda: SMTP(box, hostname="localhost")) as port:
        with pytest.raises(NotSent, match="451 try later") as later:
            await send(port)
        box.data = "554 no such mail here"
        with pytest.raises(NotificationRefused, match="554"):
            await send(port)
        box.rcpt = "550 no such user"
        with pytest.raises(NotSent, match="no recipient was taken: 550"):
            await send(port)
    assert not isinstance(later.value, NotificationRefused)


async def test_a_server_that_hangs_holds_neither_the_daemon_nor_a_thread() -> None:
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(1))
    async with receiving(HANGS) as deaf:  # waits for a request's head, and SMTP's client for a greeting
        port = int(deaf.url.split(":")[2].split("/")[0])
        with pytest.raises(NotSent, match=r"not taken within 0\.2 s"):
            await send(port, host="127.0.0.1", timeout_seconds=0.2)
        await asyncio.wait_for(asyncio.to_thread(lambda: None), 5)  # the one thread is free again


def test_the_same_notification_is_the_same_mail_and_an_incident_is_one_thread() -> None:
    options = Options.model_validate(PLAIN)
    first, again = mail(ESCALATED, options), mail(ESCALATED, options)
    other = mail(replace(ESCALATED, id="prod-20260101-000000.8"), options)
    assert first["Message-ID"] == again["Message-ID"] != other["Message-ID"]
    assert first["References"] == other["References"]


def test_a_mail_is_plain_and_html_and_nothing_in_it_is_markup() -> None:
    message = mail(MANY, Options.model_validate(PLAIN))
    plain, html = (part.get_content() for part in message.iter_parts())
    assert "12:00:00 critical: t59: escalated" in plain
    assert "<li>12:00:00 critical: t59: escalated</li>" in html
    odd = mail(replace(ESCALATED, title="a\r\nBcc: x@y.test <b>"), Options.model_validate(PLAIN))
    assert odd["Bcc"] is None
    assert "&lt;b&gt;" in list(odd.iter_parts())[1].get_content()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"sender": "nobody"}, "no e-mail address"),
        ({"recipients": []}, "recipients"),
        ({"recipients": ["a@b.test\nBcc: c@d.test"]}, "no e-mail address"),
        ({"username": "u"}, "go together"),
        ({"username": "u", "password": "p"}, "in the clear"),
        ({"security": "ssl"}, "starttls"),
        ({"ca_file": "/nowhere.pem"}, "can't be used"),
    ],
)
def test_options_that_cannot_be_are_refused(options: dict[str, object], words: str) -> None:
    with pytest.raises(PluginError, match=words):
        make_plugin("alignd.notifiers", "e-mail", {**PLAIN, **options}, where="x")
