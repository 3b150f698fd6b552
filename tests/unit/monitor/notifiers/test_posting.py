"""A web hook that fails, hangs, redirects, asks for patience, lies, or is none of our business."""

from __future__ import annotations

import socket
from datetime import UTC, datetime
from pathlib import Path

import pytest
from pydantic import ValidationError

from monitor.errors import NotificationRefused, NotSent
from monitor.notifiers.posting import Poster, PostOptions, asked_delay, forbidden
from tests.certificates import for_localhost
from tests.receiver import HANGS, answer, receiving

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def poster(url: str, **options: object) -> Poster:
    return Poster(PostOptions.model_validate({"url": url, "timeout_seconds": 0.3, **options}))


async def test_what_is_taken_is_taken_once() -> None:
    async with receiving() as hook:
        await poster(hook.url).post(b"{}", {"x-a": "b"})
        (got,) = hook.got
    assert (got.path, got.body, got.headers["x-a"], got.headers["user-agent"]) == ("/hook", b"{}", "b", "alignd")


@pytest.mark.parametrize(
    ("said", "words"),
    [
        (answer(500, "Traceback: secret"), "answered 500"),
        (answer(404), "answered 404"),
        (answer(301, location="http://127.0.0.1:1/"), "redirects are not followed"),
        (HANGS, "no answer within 0.3 s"),
        (b"HTTP/1.1 2OO ok\r\n\r\n", "ClientResponseError"),
        (b"220 mail.test ESMTP\r\n", r"127\.0\.0\.1: "),
        (b"HTTP/1.1 200 ok\r\nx: " + b"y" * 100_000 + b"\r\n\r\n", "ClientResponseError"),
    ],
)
async def test_what_is_not_taken_may_be_sent_again(said: bytes, words: str) -> None:
    async with receiving(said) as hook:
        with pytest.raises(NotSent, match=words) as caught:
            await poster(hook.url).post(b"{}", {})
        assert len(hook.got) == 1, "nothing is followed, nothing is repeated here"
    assert not isinstance(caught.value, NotificationRefused)
    assert "/hook" not in str(caught.value), "an address may be a secret"
    assert "Traceback" not in str(caught.value)


@pytest.mark.parametrize("status", [400, 413, 415, 422])
async def test_a_message_that_will_never_be_taken_is_not_sent_again(status: int) -> None:
    async with receiving(answer(status)) as hook:
        with pytest.raises(NotificationRefused, match=str(status)):
            await poster(hook.url).post(b"{}", {})


async def test_an_answer_that_ends_early_counts_by_its_status_and_a_read_one_by_its_body() -> None:
    cut = answer(200, "ok", content_length="500")
    async with receiving(cut, cut) as hook:
        await poster(hook.url).post(b"{}", {})
        with pytest.raises(NotSent, match="ClientPayloadError"):
            await poster(hook.url).post(b"{}", {}, read=True)


async def test_an_endless_answer_is_read_for_a_kilobyte() -> None:
    async with receiving(answer(200, "x" * 100_000)) as hook:
        said = await poster(hook.url).post(b"{}", {}, read=True)
    assert len(said.text) == 1024


async def test_nobody_there_is_said_without_the_address() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with pytest.raises(NotSent, match="ClientConnectorError") as caught:
        await poster(f"http://127.0.0.1:{port}/T0/token").post(b"{}", {})
    assert "token" not in str(caught.value)


async def test_patience_that_is_asked_for_is_handed_on() -> None:
    async with receiving(answer(429, retry_after="17"), answer(503)) as hook:
        with pytest.raises(NotSent) as asked:
            await poster(hook.url).post(b"{}", {})
        with pytest.raises(NotSent) as silent:
            await poster(hook.url).post(b"{}", {})
    assert (asked.value.delay_seconds, silent.value.delay_seconds) == (17.0, None)


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("17", 17.0), (" 0 ", 0.0), ("Thu, 01 Jan 2026 00:01:00 GMT", 60.0), ("Thu, 01 Jan 2026 00:01:00 -0000", 60.0),
        ("Wed, 31 Dec 2025 00:00:00 GMT", 0.0), ("", None), ("soon", None), ("-5", None), ("1e9", None),
    ],
)  # fmt: skip
def test_patience_is_given_in_seconds_or_as_a_date(header: str, seconds: float | None) -> None:
    assert asked_delay(header, NOW) == seconds


async def test_a_certificate_is_verified(tmp_path: Path) -> None:
    context, authority = for_localhost(tmp_path)
    async with receiving(tls=context) as hook:
        with pytest.raises(NotSent, match="CertificateError"):
            await poster(hook.url).post(b"{}", {})
        assert not hook.got
        await poster(hook.url, ca_file=str(authority)).post(b"{}", {})
        assert len(hook.got) == 1


@pytest.mark.parametrize(
    "host",
    [
        "169.254.169.254", "[fe80::1]", "[::ffff:169.254.169.254]", "[64:ff9b::a9fe:a9fe]", "100.100.100.200",
        "[fd00:ec2::254]", "192.0.0.192", "0xa9fea9fe", "2852039166", "169.254.43518", "0251.0376.0251.0376",
    ],
)  # fmt: skip
async def test_a_metadata_service_is_refused_in_whatever_dress(host: str) -> None:
    with pytest.raises(NotSent, match=r"link-local|no plain address"):
        await poster(f"http://{host}:9/").post(b"{}", {})


def test_other_addresses_are_fine() -> None:
    assert not any(map(forbidden, ("127.0.0.1", "10.0.0.1", "::1", "8.8.8.8", "2001:db8::1", "fd00::1")))


async def test_a_link_local_address_may_be_meant_and_else_no_proxy_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    async with receiving() as proxy:
        monkeypatch.setenv("http_proxy", proxy.url)
        monkeypatch.delenv("no_proxy", raising=False)
        monkeypatch.delenv("NO_PROXY", raising=False)
        with pytest.raises(NotSent, match=r"link-local"):
            await poster("http://169.254.1.1:9/").post(b"{}", {})
        assert not proxy.got
        await poster("http://169.254.1.1:9/", allow_link_local=True).post(b"{}", {})
        assert [r.path for r in proxy.got] == ["http://169.254.1.1:9/"]


@pytest.mark.parametrize("url", ["file:///etc/passwd", "ftp://a/b", "hooks.slack.test/x", "http://", "", "data:1"])
def test_only_the_web_is_posted_to(url: str) -> None:
    with pytest.raises(ValidationError, match="http"):
        PostOptions.model_validate({"url": url})
