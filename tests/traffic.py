"""Users that ask one after the other without a pause, and what they were told."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import httpx

__all__ = ["Answer", "Traffic"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """One answer; ``status`` 0 where the connection broke. Times are ``time.monotonic()``."""

    sent_at: float
    ended_at: float
    status: int
    release: str


class Traffic:
    """Chat requests of several users at once, from ``async with`` to its end.

    Attributes:
        answers: In order of their end.
    """

    def __init__(
        self, http: httpx.AsyncClient, asked: Mapping[str, Any], *, users: int = 4, named_by: str = "model",
        pause_seconds: float = 0.0,
    ) -> None:  # fmt: skip
        """Take a client with the base URL, the body of each request, and the answer's field that names its release.

        Args:
            pause_seconds: Between an answer and the user's next request.
        """
        self._pause_seconds = pause_seconds
        self._http = http
        self._asked = dict(asked)
        self._users = users
        self._named_by = named_by
        self._tasks: list[asyncio.Task[None]] = []
        self._stop = asyncio.Event()
        self.answers: list[Answer] = []

    async def __aenter__(self) -> Self:
        """Begin."""
        self._tasks = [asyncio.create_task(self._user()) for _ in range(self._users)]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        """Let every user get its last answer."""
        self._stop.set()
        await asyncio.gather(*self._tasks)

    async def more(self, n: int, *, seconds: float = 120.0) -> None:
        """Wait for this many more answers."""
        wanted, end = len(self.answers) + n, time.monotonic() + seconds
        while len(self.answers) < wanted:
            assert time.monotonic() < end, f"not {n} answers within {seconds:g} s"
            await asyncio.sleep(0.02)

    def failed(self) -> int:
        """Count requests that got no answer, or none of status 200."""
        return sum(a.status != httpx.codes.OK for a in self.answers)

    def wrong(self, steps: Iterable[tuple[float, float, str]]) -> int:
        """Count answers of another release than the one in service.

        Args:
            steps: Each release that was in service: from when on (its flip had returned), until when (the next flip
                was asked for), and which. What was sent then and ended later may have met the next one.
        """
        known, found = list(steps), 0
        for i, (began, ended, release) in enumerate(known):
            after = {known[i + 1][2]} if i + 1 < len(known) else set()
            for answer in self.answers:
                if began <= answer.sent_at < ended and answer.status == httpx.codes.OK:
                    found += answer.release not in {release} | (after if answer.ended_at >= ended else set())
        return found

    async def _user(self) -> None:
        while not self._stop.is_set():
            sent_at = time.monotonic()
            status, release = 0, ""
            try:
                answer = await self._http.post("/chat/completions", json=self._asked)
                status = answer.status_code
                release = str(answer.json().get(self._named_by, ""))
            except (httpx.HTTPError, ValueError):
                await asyncio.sleep(0.05)
            self.answers.append(Answer(sent_at=sent_at, ended_at=time.monotonic(), status=status, release=release))
            await asyncio.sleep(self._pause_seconds)
