"""An OpenAI-compatible endpoint: one place that sends requests and turns faults into our errors.

Targets and served judges ask through it.
"""

from __future__ import annotations

import asyncio
import base64
import json
import time
from typing import Any

import httpx
from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator

from probes.errors import PermanentTargetError, RetryableTargetError, TargetError
from probes.transport import AiohttpTransport

__all__ = ["NO_PRIORITY", "Endpoint", "EndpointOptions"]

NO_PRIORITY = "no_priority"
"""Reason of a request that is refused for its priority: the server does not schedule by it."""

_RETRYABLE = {httpx.codes.REQUEST_TIMEOUT, httpx.codes.TOO_EARLY, httpx.codes.TOO_MANY_REQUESTS}

_JSON = json.JSONEncoder(separators=(",", ":"), allow_nan=False)
"""Escapes what is not ASCII, half a surrogate pair in a suite's prompt too, which UTF-8 can't carry."""

_ADVICE = {
    301: "the endpoint moved; set it to the address that the server redirects to",
    308: "the endpoint moved; set it to the address that the server redirects to",
    400: "the server does not take this request; check max_tokens against its context length",
    401: "set its api_key",
    403: "this key may not use the model",
    404: "check the endpoint (it ends in /v1) and the served model name",
}


class EndpointOptions(BaseModel):
    """Where a served model is and how to ask it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    endpoint: str = Field(pattern=r"^https?://")
    """Base URL that ends in ``/v1``."""
    model: str
    """The served model name."""
    api_key: SecretStr | None = None
    timeout_seconds: float = Field(default=60.0, gt=0)
    """For one request, from connecting to the last byte."""
    connections: int = Field(default=32, ge=1)

    @field_validator("endpoint")
    @classmethod
    def _has_a_host(cls, endpoint: str) -> str:
        try:
            host = httpx.URL(endpoint).host
        except httpx.InvalidURL as error:
            raise ValueError(f"{endpoint!r} is no URL ({error}); write it like http://127.0.0.1:8000/v1") from error
        if not host:
            raise ValueError(f"{endpoint!r} names no host; write it like http://127.0.0.1:8000/v1")
        return endpoint

    @field_validator("api_key")
    @classmethod
    def _fits_a_header(cls, key: SecretStr | None) -> SecretStr | None:
        if key is not None and not (key.get_secret_value().isascii() and key.get_secret_value().isprintable()):
            raise ValueError("api_key holds a character that no header can carry; copy the key again")
        return key


class Endpoint:
    """Posts JSON and returns the answer's object. ``who`` begins every message, e.g. ``target prod``."""

    def __init__(
        self, options: EndpointOptions, *, who: str, transport: httpx.AsyncBaseTransport | None = None
    ) -> None:
        """Take where to ask; ``transport`` is the seam for tests."""
        self.who = who
        self.model = options.model
        self._base = options.endpoint.rstrip("/")
        self._timeout = options.timeout_seconds
        # The transport itself, without httpx's client before it: that takes as long as all the rest of a request.
        self._transport = transport or AiohttpTransport(
            connections=options.connections, timeout_seconds=options.timeout_seconds
        )
        self._headers = _headers(options)
        self._urls: dict[str, httpx.URL] = {}

    async def post(self, path: str, body: dict[str, Any], *, model_header: str = "") -> dict[str, Any]:
        """Post to a path below the endpoint, e.g. ``/chat/completions``; one beside ``/v1`` begins with ``../``.

        Args:
            model_header: Header that says which model answered, where a gateway puts another name into ``model``; what
                stands in it after the last slash takes the place of ``model``.

        Raises:
            RetryableTargetError: Time-out, closed connection, 408, 425, 429 or 5xx.
            PermanentTargetError: Any other status than 200, or an answer that is no JSON object.
        """
        response = await self._send("POST", path, _JSON.encode(body).encode())
        try:
            answer = json.loads(response.content)
        except (ValueError, RecursionError) as error:
            raise self.permanent("answered with no JSON", "malformed", "is this an OpenAI endpoint?") from error
        if not isinstance(answer, dict):
            raise self.permanent("answered with JSON that is no object", "malformed", "is this an OpenAI endpoint?")
        if named := response.headers.get(model_header) if model_header else None:
            return {**answer, "model": named.rpartition("/")[2]}
        return answer

    async def text(self, path: str, *, timeout_seconds: float) -> str:
        """Get a page beside ``/v1``, e.g. ``../metrics``, or at a whole URL, which is not shown the key.

        Raises:
            TargetError: As for ``post``.
        """
        try:
            async with asyncio.timeout(timeout_seconds):
                return (await self._send("GET", path, b"")).text
        except TimeoutError as error:
            raise RetryableTargetError(f"{self.who}: no page within {timeout_seconds:g} s", reason="timeout") from error

    async def aclose(self) -> None:
        """Close connections."""
        await self._transport.aclose()

    def permanent(self, what: str, reason: str, way_out: str) -> PermanentTargetError:
        """Make an error of what asking again won't mend."""
        return PermanentTargetError(f"{self.who}: {what}; {way_out}", reason=reason)

    def _url(self, path: str) -> httpx.URL:
        if path not in self._urls:
            whole = path
            if path.startswith("../"):
                whole = self._base.removesuffix("/v1") + path[2:]
            elif path.startswith("/"):
                whole = self._base + path
            self._urls[path] = httpx.URL(whole).copy_with(username=None, password=None)
        return self._urls[path]

    async def _send(self, method: str, path: str, body: bytes) -> httpx.Response:
        headers = self._headers if path.startswith(("/", "../")) else None
        request = httpx.Request(method, self._url(path), headers=headers, content=body)
        began = time.monotonic()
        try:
            async with asyncio.timeout(self._timeout):
                response = await self._transport.handle_async_request(request)
                await response.aread()
        except (httpx.TimeoutException, TimeoutError) as error:
            raise RetryableTargetError(
                f"{self.who}: no answer within {self._timeout:g} s; raise timeout_seconds or check the server's load",
                reason="timeout",
                waited_seconds=time.monotonic() - began,
            ) from error
        except (httpx.RemoteProtocolError, httpx.ReadError) as error:
            raise RetryableTargetError(
                f"{self.who}: the connection broke before the answer was whole ({error}); "
                "check the server's log for a crash or a restart",
                reason="cut_off",
            ) from error
        except httpx.TransportError as error:
            raise RetryableTargetError(
                f"{self.who}: {self._base} can't be reached ({type(error).__name__}); "
                "check that the server is up and the endpoint is right",
                reason="unreachable",
            ) from error
        except httpx.RequestError as error:
            raise self.permanent(
                f"answered with what can't be decoded ({type(error).__name__})",
                "malformed",
                "is there a proxy that breaks answers?",
            ) from error
        if response.status_code != httpx.codes.OK:
            raise self._status_error(response, time.monotonic() - began)
        return response

    def _status_error(self, response: httpx.Response, took: float) -> TargetError:
        status = response.status_code
        if status in _RETRYABLE or status >= httpx.codes.INTERNAL_SERVER_ERROR:
            after = response.headers.get("retry-after", "")
            return RetryableTargetError(
                f"{self.who}: HTTP {status}, the server is busy or failing; "
                "send fewer requests at a time or check the server's log",
                reason=f"http_{status}",
                retry_after_seconds=float(after) if after.isascii() and after.isdecimal() else None,
                waited_seconds=took if status == httpx.codes.GATEWAY_TIMEOUT else None,
            )
        about_priority = status == httpx.codes.BAD_REQUEST and b"priority" in response.content.lower()
        reason = NO_PRIORITY if about_priority else f"http_{status}"
        return self.permanent(f"HTTP {status}", reason, _ADVICE.get(status, "check the server's log"))


def _headers(options: EndpointOptions) -> dict[str, str]:
    headers = {"accept": "*/*", "accept-encoding": "gzip, deflate", "content-type": "application/json",
               "user-agent": "alignd"}  # fmt: skip
    url = httpx.URL(options.endpoint)
    if options.api_key:
        headers["authorization"] = f"Bearer {options.api_key.get_secret_value()}"
    elif url.userinfo:
        headers["authorization"] = f"Basic {base64.b64encode(f'{url.username}:{url.password}'.encode()).decode()}"
    return headers
