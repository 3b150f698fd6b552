"""A target behind any OpenAI-compatible endpoint, vLLM first."""

from __future__ import annotations

import json
import re
import time
from typing import Any

import httpx
from pydantic import Field

from probes.endpoint import NO_PRIORITY, Endpoint, EndpointOptions
from probes.errors import PermanentTargetError, TargetError
from probes.probe import Probe
from probes.target import Completion, Load
from probes.targets.vllm_metrics import LoadReader

__all__ = ["OpenAITarget", "Options", "make"]

_TOKENS_MAX = 10**8
"""More than any answer has: a server that counts more does not count."""
_NAME_CHARACTERS_MAX = 200
_RELEASE = re.compile(r"[^@\s/]{1,180}@[0-9a-f]{12}")
_GATEWAY_HEADER = "x-litellm-model-name"
"""Where LiteLLM says which model answered; it puts the public name into the answer's ``model``."""
_LOOK_SECONDS = 2.0
"""Longest wait for the server's own figures; a server that is too busy to show them is judged by its latency."""


class Options(EndpointOptions):
    """Where the target is and how to ask it."""

    name: str
    """The target's name in settings, metrics and incidents."""
    metrics_url: str = Field(default="", pattern=r"^(|https?://.+)$")
    """Where the server shows its own figures (vLLM's ``/metrics``); beside ``/v1`` if not given."""
    fingerprint: bool = True
    """Whether ``system_fingerprint`` names the release. Not with an API whose fingerprints change from answer to
    answer: its answers would never make one sweep."""
    release_in_model: bool = False
    """Whether ``model`` of an answer is the id of the release that gave it, whatever name was asked for: so answers a
    vLLM server whose public name the alignd plugin, or a gateway, points at releases (deployer ``vllm-adapter``)."""
    priority: int = 1_000_000
    """Sent with each request where the server schedules by priority (vLLM: lower goes first, users have 0)."""


class OpenAITarget:
    """Asks ``/chat/completions``. Translates outside errors into ours and nothing else.

    A server that does not schedule by priority refuses such a request; from then on none is sent with a priority.
    """

    def __init__(self, options: Options, *, transport: httpx.AsyncBaseTransport | None = None) -> None:
        """Take where to ask; ``transport`` is the seam for tests."""
        self.name = options.name
        self._options = options
        self._endpoint = Endpoint(options, who=f"target {options.name}", transport=transport)
        self._priority: int | None = options.priority or None
        self._load = LoadReader()

    async def complete(self, probe: Probe) -> Completion:
        """Ask once.

        Raises:
            RetryableTargetError: Time-out, closed connection, 408, 425, 429 or 5xx.
            PermanentTargetError: Any other status, an answer that is no chat completion, or one of another model.
        """
        sampling = probe.sampling
        body: dict[str, Any] = {
            "messages": [{"role": m.role, "content": m.content} for m in probe.messages],
            "max_tokens": sampling.max_tokens,
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
            "seed": probe.seed,
        }
        if sampling.top_logprobs:
            body |= {"logprobs": True, "top_logprobs": sampling.top_logprobs}
        if probe.messages[-1].role == "assistant":
            body |= {"continue_final_message": True, "add_generation_prompt": False}
        began = time.monotonic()
        answer = await self._ask(body)
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
        answer = await self._ask({"messages": [message], "max_tokens": 1, "temperature": 0})
        self._require_model(answer)
        return self._release(answer)

    async def load(self) -> Load | None:
        """Read the server's own metrics (vLLM's ``/metrics``); ``None`` where it has none."""
        try:
            page = await self._endpoint.text(self._options.metrics_url or "../metrics", timeout_seconds=_LOOK_SECONDS)
            return self._load.read(page)
        except TargetError:
            return None

    async def version(self) -> str:
        """Read vLLM's ``/version``; empty where there is none."""
        try:
            said = json.loads(await self._endpoint.text("../version", timeout_seconds=_LOOK_SECONDS))
        except (TargetError, ValueError, RecursionError):
            return ""
        return _text(said.get("version"))[:_NAME_CHARACTERS_MAX] if isinstance(said, dict) else ""

    @property
    def prioritised(self) -> bool:
        """Whether requests carry a priority: the server has not refused one."""
        return self._priority is not None

    async def aclose(self) -> None:
        """Close connections."""
        await self._endpoint.aclose()

    async def _ask(self, body: dict[str, Any]) -> dict[str, Any]:
        body = {"model": self._options.model, **body}
        header = _GATEWAY_HEADER if self._options.release_in_model else ""
        priority = self._priority
        if priority is None:
            return await self._endpoint.post("/chat/completions", body, model_header=header)
        try:
            return await self._endpoint.post(
                "/chat/completions", {**body, "priority": priority}, model_header=header
            )
        except PermanentTargetError as error:
            if error.reason != NO_PRIORITY:
                raise
        self._priority = None
        return await self._endpoint.post("/chat/completions", body, model_header=header)

    def _require_model(self, answer: dict[str, Any]) -> None:
        model, asked = answer.get("model"), self._options.model
        named = self._options.release_in_model and _RELEASE.fullmatch(_text(model)) and not _RELEASE.fullmatch(asked)
        if model != asked and not named:
            raise self._endpoint.permanent(
                f"answered as model {model!r}", "wrong_model", "set model to the served name"
            )

    def _release(self, answer: dict[str, Any]) -> str:
        if self._options.release_in_model:
            said = _text(answer.get("model"))
            return said if _RELEASE.fullmatch(said) else ""
        named = _text(answer.get("system_fingerprint")) if self._options.fingerprint else ""
        if len(named) > _NAME_CHARACTERS_MAX or not named.isprintable():
            raise self._endpoint.permanent(
                "names as its release what is no name", "malformed", "set fingerprint: false to leave it out"
            )
        return named

    def _completion(self, probe: Probe, answer: dict[str, Any], seconds: float) -> Completion:
        try:
            choice = answer["choices"][0]
            message = choice["message"]
            text = message["content"]
        except (KeyError, IndexError, TypeError, AttributeError) as error:
            raise self._endpoint.permanent(
                "answered with no choices[0].message.content", "malformed", "is this a chat endpoint?"
            ) from error
        return Completion(
            probe=probe.id,
            text=_text(text),
            finish_reason=_word(choice.get("finish_reason")),
            model=_text(answer.get("model")),
            release=self._release(answer),
            completion_tokens=_count(answer, "completion_tokens"),
            prompt_tokens=_count(answer, "prompt_tokens"),
            latency_seconds=seconds,
            first_token=_first_token(choice.get("logprobs")),
        )


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _word(value: object) -> str:
    """Read why an answer ended; what is no word is kept out of records and metrics."""
    word = _text(value)
    return word if re.fullmatch(r"[A-Za-z_]{1,40}", word) else ("other" if word else "unsaid")


def _count(answer: dict[str, Any], what: str) -> int:
    usage = answer.get("usage")
    count = usage.get(what) if isinstance(usage, dict) else None
    return count if isinstance(count, int) and not isinstance(count, bool) and 0 <= count <= _TOKENS_MAX else 0


def _first_token(logprobs: object) -> tuple[tuple[str, float], ...]:
    """Read the first token's alternatives; what is not as published is left out."""
    try:
        alternatives = logprobs["content"][0]["top_logprobs"]  # type: ignore[index]
        found = [(a["token"], float(a["logprob"])) for a in alternatives if isinstance(a["token"], str)]
    except (KeyError, IndexError, TypeError, ValueError, OverflowError):
        return ()
    return tuple(sorted(((t, p) for t, p in found if p <= 0), key=lambda pair: -pair[1]))


def make(options: Options) -> OpenAITarget:
    """Make the target of its options."""
    return OpenAITarget(options)
