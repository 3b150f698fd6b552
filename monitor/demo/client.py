"""An ordinary user: sends everyday requests through the whole demo and counts what failed."""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime

import httpx

__all__ = ["OrdinaryClient", "Traffic"]


@dataclass(slots=True)
class Traffic:
    """What the client saw.

    Attributes:
        failures: Reason to count; a reason is the HTTP status or the error's class, never text of an answer.
        by_release: Answers per release, as the answers themselves say.
    """

    sent: int = 0
    failed: int = 0
    slowest_seconds: float = 0.0
    failures: Counter[str] = field(default_factory=Counter)
    by_release: Counter[str] = field(default_factory=Counter)
    failed_at: list[datetime] = field(default_factory=list)


class OrdinaryClient:
    """Sends one request after another with a short pause, as a small application would."""

    def __init__(self, *, endpoint: str, model: str, prompts: tuple[str, ...], seed: int) -> None:
        """Take the public endpoint (``…/v1``), the served name and the everyday prompts to send."""
        self.traffic = Traffic()
        self._endpoint = endpoint
        self._model = model
        self._prompts = prompts
        self._random = random.Random(seed)

    async def run(self, stop: asyncio.Event, *, pause_seconds: float = 3.0) -> None:
        """Send until ``stop`` is set; a request on its way is finished first."""
        async with httpx.AsyncClient(timeout=120.0) as http:
            while not stop.is_set():
                await self._one(http)
                try:
                    await asyncio.wait_for(stop.wait(), pause_seconds)
                except TimeoutError:
                    continue

    async def _one(self, http: httpx.AsyncClient) -> None:
        body = {
            "model": self._model,
            "messages": [{"role": "user", "content": self._random.choice(self._prompts)}],
            "max_tokens": 16,
            "temperature": 0.7,
        }
        began = time.monotonic()
        reason, release = "", ""
        try:
            response = await http.post(f"{self._endpoint}/chat/completions", json=body)
            if response.status_code != httpx.codes.OK:
                reason = f"http_{response.status_code}"
            else:
                answer = response.json()
                release = answer.get("system_fingerprint") or ""
                if not answer["choices"][0]["message"]["content"]:
                    reason = "empty"
        except (httpx.HTTPError, ValueError, KeyError, IndexError) as error:
            reason = type(error).__name__
        self.traffic.sent += 1
        self.traffic.slowest_seconds = max(self.traffic.slowest_seconds, time.monotonic() - began)
        self.traffic.by_release[release] += 1
        if reason:
            self.traffic.failed += 1
            self.traffic.failed_at.append(datetime.now(UTC))
            self.traffic.failures[reason] += 1
