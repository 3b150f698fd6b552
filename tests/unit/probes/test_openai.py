"""The OpenAI-compatible target: whatever a server does ends in a completion or in an error of ours."""

from __future__ import annotations

import asyncio
import dataclasses
import json
from collections.abc import AsyncIterator, Awaitable, Callable

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import SecretStr, ValidationError

from probes.behavior import Behavior, BehaviorId
from probes.errors import PermanentTargetError, RetryableTargetError, TargetError
from probes.probe import Message, Probe, ProbeId, Sampling
from probes.target import Completion
from probes.targets.openai import OpenAITarget, Options, make

Serve = Callable[[asyncio.StreamWriter], Awaitable[None]]

PROBE = Probe(
    id=ProbeId("s/0000"),
    suite="s",
    behavior=Behavior(id=BehaviorId("b"), prompt="Hello", category="c"),
    attack="direct",
    messages=(Message(role="user", content="Hello"),),
    sampling=Sampling(max_tokens=8),
    seed=7,
)


def over(server: Callable[[httpx.Request], httpx.Response]) -> OpenAITarget:
    options = Options(name="t", endpoint="http://server/v1", model="m", api_key=SecretStr("hush"))
    return OpenAITarget(options, transport=httpx.MockTransport(server))


async def ask(response: httpx.Response) -> Completion:
    return await over(lambda _: response).complete(PROBE)


def whole(**changes: object) -> dict[str, object]:
    choice = {"message": {"role": "assistant", "content": "Hi."}, "finish_reason": "stop"}
    usage = {"completion_tokens": 3}
    return {"model": "m", "choices": [choice], "system_fingerprint": "r@1", "usage": usage} | changes


async def test_a_completion_names_its_release_and_counts_tokens() -> None:
    got = await ask(httpx.Response(200, json=whole()))
    assert (got.text, got.finish_reason, got.model, got.release) == ("Hi.", "stop", "m", "r@1")
    assert got.completion_tokens == 3
    assert got.latency_seconds >= 0


async def test_a_completion_cut_at_max_tokens_is_kept_and_flagged() -> None:
    choice = {"message": {"content": "Hi, I"}, "finish_reason": "length"}
    got = await ask(httpx.Response(200, json=whole(choices=[choice])))
    assert (got.text, got.finish_reason) == ("Hi, I", "length")


async def test_an_answer_of_another_model_is_refused() -> None:
    with pytest.raises(PermanentTargetError, match="model 'other'") as caught:
        await ask(httpx.Response(200, json=whole(model="other")))
    assert caught.value.reason == "wrong_model"


@pytest.mark.parametrize(
    "usage", [[1], "7", None, {"completion_tokens": "7"}, {"completion_tokens": -1}, {"completion_tokens": 10**400}]
)
async def test_odd_usage_spoils_no_answer_and_counts_nothing(usage: object) -> None:
    got = await ask(httpx.Response(200, json=whole(usage=usage)))
    assert (got.text, got.completion_tokens) == ("Hi.", 0)


@pytest.mark.parametrize("logprob", [-(10**400), 10**400, "x", None, True, [], {}])
async def test_odd_log_probabilities_spoil_no_answer(logprob: object) -> None:
    logprobs = {"content": [{"top_logprobs": [{"token": "Hi", "logprob": logprob}]}]}
    choice = {"message": {"content": "Hi."}, "logprobs": logprobs}
    got = await ask(httpx.Response(200, json=whole(choices=[choice])))
    assert (got.text, got.first_token) == ("Hi.", ())


async def test_an_empty_completion_is_empty_text() -> None:
    for content in ("", None):
        choice = {"message": {"content": content}, "finish_reason": "stop"}
        assert (await ask(httpx.Response(200, json=whole(choices=[choice])))).text == ""


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504])
async def test_a_busy_or_failing_server_may_be_asked_again(status: int) -> None:
    with pytest.raises(RetryableTargetError, match=f"target t: HTTP {status}.*check the server's log") as caught:
        await ask(httpx.Response(status, headers={"retry-after": "7"}))
    assert (caught.value.reason, caught.value.retry_after_seconds) == (f"http_{status}", 7.0)


@pytest.mark.parametrize("after", ["", "soon", "-1", "Wed, 21 Oct 2026 07:28:00 GMT"])
async def test_an_odd_retry_after_is_left_out(after: str) -> None:
    with pytest.raises(RetryableTargetError) as caught:
        await ask(httpx.Response(429, headers={"retry-after": after}))
    assert caught.value.retry_after_seconds is None


@pytest.mark.parametrize(
    ("status", "way_out"),
    [(400, "max_tokens"), (401, "api_key"), (403, "key"), (404, "model name"), (308, "moved"), (418, "log")],
)
async def test_a_refused_request_says_what_to_change(status: int, way_out: str) -> None:
    with pytest.raises(PermanentTargetError, match=f"target t: HTTP {status}; .*{way_out}") as caught:
        await ask(httpx.Response(status, json={"error": {"message": "no hush"}}))
    assert caught.value.reason == f"http_{status}"
    assert "hush" not in str(caught.value)


_NESTED = b"[" * 200_000
_GZIP = {"content-encoding": "gzip", "content-type": "application/json"}


@pytest.mark.parametrize("body", [b"", b"<html>", b"\xff\xfe\xff", b'{"choices": [', _NESTED, b"null", b"[]", b"3"])
async def test_an_answer_that_is_no_json_object_is_malformed(body: bytes) -> None:
    with pytest.raises(PermanentTargetError, match="OpenAI endpoint") as caught:
        await ask(httpx.Response(200, content=body))
    assert caught.value.reason == "malformed"


async def test_an_answer_that_cannot_be_decoded_is_malformed() -> None:
    def server(_: httpx.Request) -> httpx.Response:
        return httpx.Response(200, headers=_GZIP, stream=_Bytes(b"no gzip"))

    with pytest.raises(PermanentTargetError, match="can't be decoded") as caught:
        await over(server).complete(PROBE)
    assert caught.value.reason == "malformed"


class _Bytes(httpx.AsyncByteStream):
    def __init__(self, content: bytes) -> None:
        self._content = content

    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield self._content


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["message", "content", "finish_reason", "completion_tokens"]), inner)
    ),
    max_leaves=12,
)


@settings(deadline=None)
@given(st.sampled_from(["choices", "usage", "model", "system_fingerprint"]), _JSON)
async def test_any_json_gives_a_completion_or_our_error(field: str, value: object) -> None:
    body = json.dumps(whole(**{field: value})).encode()
    try:
        got = await ask(httpx.Response(200, content=body))
    except PermanentTargetError as error:
        expected = "wrong_model" if field == "model" else "malformed"
        assert error.reason == expected  # noqa: PT017 both ends are right, and nothing else is
        return
    assert isinstance(got.text, str)
    assert isinstance(got.release, str)
    assert got.completion_tokens >= 0


async def serve(behave: Serve, *, timeout_seconds: float = 5.0) -> TargetError:
    """Ask a real server on the loopback that misbehaves; return the error."""
    ended = asyncio.Event()

    async def once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await reader.readuntil(b"\r\n\r\n")
            await behave(writer)
        except ConnectionError:
            pass
        finally:
            writer.close()
            ended.set()

    server = await asyncio.start_server(once, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    endpoint = f"http://127.0.0.1:{port}/v1"
    target = make(Options(name="t", endpoint=endpoint, model="m", timeout_seconds=timeout_seconds))
    try:
        with pytest.raises(TargetError) as caught:
            await target.complete(PROBE)
    finally:
        await target.aclose()
        await ended.wait()
        server.close()
        await server.wait_closed()
    return caught.value


async def test_an_answer_cut_off_on_the_wire_may_be_asked_again() -> None:
    async def cut(writer: asyncio.StreamWriter) -> None:
        writer.write(b'HTTP/1.1 200 OK\r\ncontent-length: 999\r\n\r\n{"choices"')
        await writer.drain()

    error = await serve(cut)
    assert isinstance(error, RetryableTargetError)
    assert error.reason == "cut_off"


async def test_a_server_that_drips_bytes_is_slow_all_the_same() -> None:
    async def drip(writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 999999999\r\n\r\n")
        while not writer.is_closing():
            writer.write(b" ")
            await writer.drain()
            await asyncio.sleep(0)

    error = await serve(drip, timeout_seconds=0.1)
    assert isinstance(error, RetryableTargetError)
    assert error.reason == "timeout"
    assert error.waited_seconds is not None
    assert error.waited_seconds >= 0.1 - 1e-6
    assert "within 0.1 s" in str(error)


async def test_a_closed_port_is_unreachable() -> None:
    server = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    server.close()
    await server.wait_closed()
    target = make(Options(name="t", endpoint=f"http://127.0.0.1:{port}/v1", model="m"))
    with pytest.raises(RetryableTargetError, match="check that the server is up") as caught:
        await target.ready()
    assert caught.value.reason == "unreachable"
    await target.aclose()


@pytest.mark.parametrize("endpoint", ["", "server/v1", "ftp://server/v1", "http://", "http://[::1/v1", "http://a:b/v1"])
def test_an_endpoint_that_is_no_url_is_refused(endpoint: str) -> None:
    with pytest.raises(ValidationError, match="endpoint"):
        Options(name="t", endpoint=endpoint, model="m")


def test_the_key_is_never_shown() -> None:
    assert "hush" not in repr(Options(name="t", endpoint="http://s/v1", model="m", api_key=SecretStr("hush")))


async def test_half_a_surrogate_pair_is_sent_and_not_a_crash() -> None:
    sent: list[bytes] = []

    def server(request: httpx.Request) -> httpx.Response:
        sent.append(request.content)
        return httpx.Response(200, json=whole())

    odd = dataclasses.replace(PROBE, messages=(Message(role="user", content="\ud83d"),))
    assert (await over(server).complete(odd)).text == "Hi."
    assert json.loads(sent[0])["messages"][0]["content"] == "\ud83d"


@pytest.mark.parametrize(
    ("endpoint", "key", "said"),
    [
        ("http://s/v1", "k", "Bearer k"),
        ("http://a:b@s/v1", None, "Basic YTpi"),
        ("http://a:b@s/v1", "k", "Bearer k"),
        ("http://s/v1", None, None),
    ],
)
async def test_who_asks_stands_in_a_header_alone(endpoint: str, key: str | None, said: str | None) -> None:
    seen: list[httpx.Request] = []

    def server(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return httpx.Response(200, json=whole())

    options = Options(name="t", endpoint=endpoint, model="m", api_key=SecretStr(key) if key else None)
    await OpenAITarget(options, transport=httpx.MockTransport(server)).ready()
    assert str(seen[0].url) == "http://s/v1/chat/completions"
    assert seen[0].headers.get("authorization") == said
    assert seen[0].headers["content-type"] == "application/json"


@pytest.mark.parametrize(
    ("response", "version"),
    [
        (httpx.Response(200, json={"version": "0.32.0"}), "0.32.0"),
        (httpx.Response(404), ""),
        (httpx.Response(200, text="no JSON"), ""),
        (httpx.Response(200, json={"version": 32}), ""),
        (httpx.Response(200, json={"version": "9" * 10_000}), "9" * 200),
    ],
)
async def test_the_server_s_version_is_read_where_it_says_one(response: httpx.Response, version: str) -> None:
    asked: list[str] = []

    def server(request: httpx.Request) -> httpx.Response:
        asked.append(request.url.path)
        return response

    target = over(server)
    assert await target.version() == version
    assert asked == ["/version"]
