"""A target behind any OpenAI-compatible endpoint, vLLM first."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import httpx
from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator

from probes.errors import PermanentTargetError, RetryableTargetError, TargetError
from probes.probe import Probe
from probes.target import Completion

__all__ = ["OpenAITarget", "Options", "make"]

_RETRYABLE = {httpx.codes.REQUEST_TIMEOUT, httpx.codes.TOO_EARLY, httpx.codes.TOO_MANY_REQUESTS}

_ADVICE = {
    301: "the endpoint moved; set it to the address that the server redirects to",
    308: "the endpoint moved; set it to the address that the server redirects to",
    400: "the server does not take this request; check max_tokens against its context length",
    401: "set the target's api_key",
    403: "this key may not use the model",
    404: "check the endpoint (it ends in /v1) and the served model name",
}


class Options(BaseModel):
    """Where the target is and how to ask it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    """The target's name in settings, metrics and incidents."""
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


class OpenAITarget:
    """Asks ``/chat/completions``. Translates outside errors into ours and nothing else."""

    def __init__(self, options: Options, *, transport: httpx.AsyncBaseTransport | None = None) -> None:
        """Take where to ask; ``transport`` is the seam for tests."""
        key = options.api_key.get_secret_value() if options.api_key else ""
        self.name = options.name
        self._options = options
        self._http = httpx.AsyncClient(
            base_url=options.endpoint.rstrip("/"),
            headers={"Authorization": f"Bearer {key}"} if key else {},
            timeout=options.timeout_seconds,
            limits=httpx.Limits(max_connections=options.connections),
            transport=transport,
        )

    async def complete(self, probe: Probe) -> Completion:
        """Ask once.

        Raises:
            RetryableTargetError: Time-out, closed connection, 408, 425, 429 or 5xx.
            PermanentTargetError: Any other status, an answer that is no chat completion, or one of another model.
        """
        body = {
            "model": self._options.model,
            "messages": [{"role": m.role, "content": m.content} for m in probe.messages],
            "max_tokens": probe.sampling.max_tokens,
            "temperature": probe.sampling.temperature,
            "top_p": probe.sampling.top_p,
            "seed": probe.seed,
        }
        began = time.monotonic()
        answer = await self._post(body)
        if _text(answer.get("model")):
            self._require_model(answer)
        return self._completion(probe, answer, time.monotonic() - began)

    async def ready(self) -> str:
        """Prove by a one-token completion that the expected model answers.

        Returns:
            The release that answered, or ``""`` where the server doesn't say.

        Raises:
            TargetError: It doesn't; the message says why and what to do.
        """
        message = {"role": "user", "content": "Hello"}
        body = {"model": self._options.model, "messages": [message], "max_tokens": 1, "temperature": 0}
        answer = await self._post(body)
        self._require_model(answer)
        return _text(answer.get("system_fingerprint"))

    async def aclose(self) -> None:
        """Close connections."""
        await self._http.aclose()

    async def _post(self, body: dict[str, Any]) -> dict[str, Any]:
        try:
            async with asyncio.timeout(self._options.timeout_seconds):
                response = await self._http.post("/chat/completions", json=body)
        except (httpx.TimeoutException, TimeoutError) as error:
            limit = self._options.timeout_seconds
            raise RetryableTargetError(
                f"target {self.name}: no answer within {limit:g} s; raise timeout_seconds or check the server's load",
                reason="timeout",
            ) from error
        except (httpx.RemoteProtocolError, httpx.ReadError) as error:
            raise RetryableTargetError(
                f"target {self.name}: the connection broke before the answer was whole ({type(error).__name__}); "
                "check the server's log for a crash or a restart",
                reason="cut_off",
            ) from error
        except httpx.TransportError as error:
            raise RetryableTargetError(
                f"target {self.name}: {self._options.endpoint} can't be reached ({type(error).__name__}); "
                "check that the server is up and the endpoint is right",
                reason="unreachable",
            ) from error
        except httpx.RequestError as error:
            raise self._permanent(
                f"answered with what can't be decoded ({type(error).__name__})",
                "malformed",
                "is there a proxy that breaks answers?",
            ) from error
        if response.status_code != httpx.codes.OK:
            raise self._status_error(response)
        try:
            answer = response.json()
        except (ValueError, RecursionError) as error:
            raise self._permanent("answered with no JSON", "malformed", "is this an OpenAI endpoint?") from error
        if not isinstance(answer, dict):
            raise self._permanent("answered with JSON that is no object", "malformed", "is this an OpenAI endpoint?")
        return answer

    def _require_model(self, answer: dict[str, Any]) -> None:
        model = answer.get("model")
        if model != self._options.model:
            raise self._permanent(f"answered as model {model!r}", "wrong_model", "set model to the served name")

    def _status_error(self, response: httpx.Response) -> TargetError:
        status = response.status_code
        if status in _RETRYABLE or status >= httpx.codes.INTERNAL_SERVER_ERROR:
            after = response.headers.get("retry-after", "")
            return RetryableTargetError(
                f"target {self.name}: HTTP {status}, the server is busy or failing; "
                "send fewer requests at a time or check the server's log",
                reason=f"http_{status}",
                retry_after_seconds=float(after) if after.isdecimal() else None,
            )
        return self._permanent(f"HTTP {status}", f"http_{status}", _ADVICE.get(status, "check the server's log"))

    def _completion(self, probe: Probe, answer: dict[str, Any], seconds: float) -> Completion:
        try:
            choice = answer["choices"][0]
            text = choice["message"]["content"]
            usage = answer.get("usage")
            tokens = usage.get("completion_tokens", 0) if isinstance(usage, dict) else 0
        except (KeyError, IndexError, TypeError, AttributeError) as error:
            raise self._permanent(
                "answered with no choices[0].message.content", "malformed", "is this a chat endpoint?"
            ) from error
        return Completion(
            probe=probe.id,
            text=_text(text),
            finish_reason=_text(choice.get("finish_reason")),
            model=_text(answer.get("model")),
            release=_text(answer.get("system_fingerprint")),
            completion_tokens=tokens if isinstance(tokens, int) and tokens >= 0 else 0,
            latency_seconds=seconds,
        )

    def _permanent(self, what: str, reason: str, way_out: str) -> PermanentTargetError:
        return PermanentTargetError(f"target {self.name}: {what}; {way_out}", reason=reason)


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def make(options: Options) -> OpenAITarget:
    """Make the target of its options."""
    return OpenAITarget(options)
