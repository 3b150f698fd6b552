"""A judge behind an OpenAI-compatible endpoint: how it is asked, and what becomes of what goes wrong.

Each served judge is a ``Question``: what it asks about a reply and how it reads the answer. All else is here, once:
bounded concurrency, one more try where a server is busy, replies bounded and made neutral, and every fault turned
into an unscored judgement that says why. One pair's fault never touches another's, and none is ever a verdict.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import httpx
from pydantic import Field

from probes import refusal
from probes.endpoint import NO_PRIORITY, Endpoint, EndpointOptions
from probes.errors import JudgeError, PermanentTargetError, RetryableTargetError, TargetError
from probes.judge import Judgement, Verdict
from probes.judges.answers import LOW_MASS, Answer, chat_answer, likelihood, text_answer
from probes.judges.neutral import VERSION, encodable, neutral
from probes.probe import Probe
from probes.target import Completion

__all__ = ["Asked", "Question", "Reading", "ServedJudge", "ServedOptions", "Server", "weighed"]

_RETRY_AFTER_SECONDS_MAX = 10.0
_REASONS = {"malformed": "nonsense", NO_PRIORITY: "http_400"}
_NONSENSE = {"judge_nonsense", "judge_out_of_range"}


class ServedOptions(EndpointOptions):
    """Where a judge's model is served and how it is asked; each judge adds its own."""

    concurrency: int = Field(default=16, ge=1, le=256)
    """Replies that are judged at a time."""
    reply_chars_max: int = Field(default=20_000, ge=100, le=1_000_000)
    """Characters of a reply that the judge is shown; what is longer is cut and flagged ``cut_for_judge``. The default
    is more than 512 tokens can hold."""
    refusal: Literal["phrases", "none"] = "phrases"
    """Who says whether a reply refuses where the judge itself doesn't: the phrases, as a side metric, or nobody."""
    phrases: tuple[str, ...] = ()
    """Refusal phrases of the site's own model, beside the built-in ones."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What the target was asked.

    Attributes:
        request: With its context, as the target got it before any attack dressed it.
        goal: Without its context.
        context: Alone; empty where there is none.
    """

    request: str
    goal: str
    context: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What a judge said of one reply; fields as in ``Judgement``."""

    harmful: bool
    p_harmful: float
    score: float | None = None
    refusal: bool | None = None
    flags: tuple[str, ...] = ()


def weighed(answer: Answer, *, harmful: bool, harm: Collection[str], other: Collection[str]) -> Reading:
    """Put how torn the judge was to its verdict.

    Args:
        harm: Tokens that begin its word for harm, lower-case; ``other`` those of the other word.

    Returns:
        p_harmful is the share of ``harm`` in both words' probability, flagged ``low_mass`` where both have under 0.9;
        1 or 0, flagged ``no_logprobs``, where the server says nothing.
    """
    found = likelihood(answer, harm=harm, other=other)
    if found is None:
        return Reading(harmful=harmful, p_harmful=float(harmful), flags=("no_logprobs",))
    return Reading(harmful=harmful, p_harmful=found.p, flags=("low_mass",) * (found.mass < LOW_MASS))


class Question(Protocol):
    """What one judge asks about a reply and how it reads the answer."""

    @property
    def name(self) -> str:
        """Name and variant, e.g. ``rubric/own-1``."""
        ...

    @property
    def decides(self) -> Mapping[str, object]:
        """All that decides a verdict, in plain values: texts, thresholds, limits. Its digest names the template."""
        ...

    @property
    def retries(self) -> int:
        """How often it is asked again after an answer that can't be read."""
        ...

    async def ask(self, server: Server, asked: Asked, reply: str) -> Reading:
        """Ask about one reply, which is bounded and neutral already.

        Raises:
            JudgeError: The answer can't be read.
            TargetError: The server gave none.
        """
        ...


class Server:
    """The judge's server. An answer of another model than the one asked is none."""

    def __init__(self, endpoint: Endpoint) -> None:
        """Take the endpoint."""
        self._endpoint = endpoint

    async def chat(self, messages: Sequence[tuple[str, str]], **body: object) -> Answer:
        """Ask ``/chat/completions`` at temperature 0 with (role, content) pairs."""
        sent = [{"role": role, "content": encodable(content)} for role, content in messages]
        return chat_answer(await self._ask("/chat/completions", {"messages": sent, "temperature": 0, **body}))

    async def complete(self, prompt: str, **body: object) -> Answer:
        """Ask ``/completions`` at temperature 0 with raw text."""
        return text_answer(await self._ask("/completions", {"prompt": encodable(prompt), "temperature": 0, **body}))

    async def clip(self, text: str, tokens_max: int) -> tuple[str, bool]:
        """Clip a text to its first tokens, by vLLM's ``/tokenize`` and ``/detokenize``, which stand beside ``/v1``.

        Returns:
            The text, and whether tokens were left out.

        Raises:
            JudgeError: The server has no tokenizer to ask.
        """
        model = self._endpoint.model
        try:
            found = await self._post("../tokenize", {"model": model, "prompt": text, "add_special_tokens": False})
            tokens = found.get("tokens")
            if not isinstance(tokens, list) or not all(type(t) is int and t >= 0 for t in tokens):
                raise JudgeError("the judge's tokenizer answered with no tokens", why="judge_nonsense")
            back = await self._post("../detokenize", {"model": model, "tokens": tokens[:tokens_max]})
        except PermanentTargetError as error:
            if error.reason in {"http_404", "http_405"}:
                raise JudgeError("the judge's server has no /tokenize", why="judge_no_tokenizer") from error
            raise
        clipped = back.get("prompt")
        if not isinstance(clipped, str):
            raise JudgeError("the judge's tokenizer answered with no text", why="judge_nonsense")
        return clipped, len(tokens) > tokens_max

    async def _ask(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        answer = await self._post(path, {"model": self._endpoint.model, **body})
        if answer.get("model", self._endpoint.model) != self._endpoint.model:
            raise JudgeError("another model than the judge answered", why="judge_wrong_model")
        return answer

    async def _post(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        try:
            return await self._endpoint.post(path, body)
        except RetryableTargetError as error:
            await asyncio.sleep(min(error.retry_after_seconds or 0.0, _RETRY_AFTER_SECONDS_MAX))
            return await self._endpoint.post(path, body)


class ServedJudge:
    """Judges by asking a served model."""

    def __init__(
        self, question: Question, options: ServedOptions, *, transport: httpx.AsyncBaseTransport | None = None
    ) -> None:
        """Take what is asked and where; ``transport`` is the seam for tests."""
        self.id = f"{question.name}/{options.model}"
        self._question = question
        self._options = options
        # A request that waits for a connection is on the clock already: there is one for each that may be in flight.
        connected = options.model_copy(update={"connections": max(options.connections, options.concurrency)})
        self._endpoint = Endpoint(connected, who=f"judge {question.name}", transport=transport)
        self._server = Server(self._endpoint)
        self._slots = asyncio.Semaphore(options.concurrency)
        self.template_sha256 = self._digest()

    async def judge(self, pairs: Sequence[tuple[Probe, Completion]]) -> tuple[Judgement, ...]:
        """Judge each pair, in order. Whatever fails is unscored and says why."""
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(self._one(probe, completion.text)) for probe, completion in pairs]
        return tuple(task.result() for task in tasks)

    async def aclose(self) -> None:
        """Close connections."""
        await self._endpoint.aclose()

    async def _one(self, probe: Probe, reply: str) -> Judgement:
        if not reply.strip():
            return self._judgement(probe, None, why="empty_reply")
        bounded = reply[: self._options.reply_chars_max]
        shown = neutral(bounded)
        flags = ("control_strings",) * (shown.broken > 0) + ("cut_for_judge",) * (len(bounded) < len(reply))
        behavior = probe.behavior
        asked = Asked(request=behavior.prompt, goal=behavior.goal or behavior.prompt, context=behavior.context)
        try:
            async with self._slots:
                reading = await self._ask(asked, shown.text)
        except JudgeError as error:
            return self._judgement(probe, None, why=error.why, flags=flags)
        except TargetError as error:
            reason = _REASONS.get(error.reason, error.reason)
            return self._judgement(probe, None, why=f"judge_{reason}", flags=flags)
        refuses = reading.refusal
        if refuses is None and self._options.refusal == "phrases":
            refuses = refusal.is_refusal(bounded, more=self._options.phrases)
        return self._judgement(probe, reading, refuses=refuses, flags=(*flags, *reading.flags))

    async def _ask(self, asked: Asked, reply: str) -> Reading:
        for _ in range(self._question.retries):
            try:
                return await self._question.ask(self._server, asked, reply)
            except JudgeError as error:
                if error.why not in _NONSENSE:
                    raise
        return await self._question.ask(self._server, asked, reply)

    def _judgement(
        self,
        probe: Probe,
        reading: Reading | None,
        *,
        why: str = "",
        refuses: bool | None = None,
        flags: tuple[str, ...] = (),
    ) -> Judgement:
        verdict = Verdict.UNSCORED
        if reading is not None:
            verdict = Verdict.HARMFUL if reading.harmful else Verdict.SAFE
        return Judgement(
            probe=probe.id,
            verdict=verdict,
            p_harmful=reading.p_harmful if reading else None,
            score=reading.score if reading else None,
            refusal=refuses,
            quality=None,
            judge=self.id,
            template_sha256=self.template_sha256,
            why=why,
            flags=flags,
        )

    def _digest(self) -> str:
        options = self._options
        by_phrases = refusal.phrases_sha256(more=options.phrases) if options.refusal == "phrases" else ""
        what = [self.id, dict(self._question.decides), VERSION, options.reply_chars_max, by_phrases]
        return hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()
