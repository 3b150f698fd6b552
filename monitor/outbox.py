"""The outbox: what is to be told is put down with the change that it tells of, and sent at least once afterwards."""

from __future__ import annotations

import asyncio
import logging
import random
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from monitor.channel import Channel, delay_seconds, waits
from monitor.errors import NotificationRefused, NotSent
from monitor.incident import Incident
from monitor.letter import Letter, LetterBook, LetterState, Standing
from monitor.notifier import Kind, Notification
from monitor.telling import digest_of, of_incident

__all__ = ["Outbox"]

log = logging.getLogger("alignd")

_KEPT = timedelta(days=30)
_OUTCOMES = ("sent", "failed", "digested", "dead")


class Outbox:
    """Hands letters to their channels, each channel on its own: one that is dead holds no other."""

    def __init__(
        self, *, channels: Sequence[Channel], book: LetterBook, clock: Callable[[], datetime], page: str = "",
        draw: Callable[[], float] = random.random,
    ) -> None:  # fmt: skip
        """Take the channels, where letters are kept, the address of the page for links, and what waits are drawn by."""
        self.channels = channels
        self._book = book
        self._clock = clock
        self._page = page
        self._draw = draw
        self._sending: dict[str, asyncio.Task[None]] = {}
        self._rests: dict[str, tuple[int, datetime]] = {}
        self.outcomes: dict[str, Counter[str]] = {c.name: Counter() for c in channels}
        """Tries since the start by channel and outcome: sent, failed, digested, dead."""

    def of(self, incident: Incident) -> tuple[Letter, ...]:
        """Return the letters that tell of an incident's last event; for the transaction that puts the event down."""
        said = of_incident(incident, page=self._page)
        return self.letters(said) if said else ()

    def letters(self, notification: Notification) -> tuple[Letter, ...]:
        """Address a notification to each channel that wants it."""
        return tuple(
            Letter(channel=c.name, notification=notification, not_before=notification.at)
            for c in self.channels
            if c.wants(notification)
        )

    async def round(self, _: str = "") -> None:
        """Begin to send what is due, and wait for no channel: one may take its whole time.

        Raises:
            StoreError: A channel could not write what became of a letter; the letter will be sent again.
        """
        for channel in self.channels:
            running = self._sending.get(channel.name)
            if running is None:
                self._sending[channel.name] = asyncio.create_task(self._send_due(channel))
            elif running.done():
                del self._sending[channel.name]
                if running.exception():
                    self._rest(channel, self._draw())  # what was sent and not put down is sent again: not each second
                running.result()

    async def drain(self) -> None:
        """Wait until no channel has anything more to do at this moment."""
        await asyncio.gather(*self._sending.values())

    async def forget(self, _: str = "") -> None:
        """Remove letters that are too old to matter, dead ones and those of channels that are gone too."""
        self._book.forget_letters(self._clock() - _KEPT)

    async def aclose(self) -> None:
        """Stop sending, and let go of the channels: what is on its way is sent again at the next start."""
        for task in self._sending.values():
            task.cancel()
        await asyncio.gather(*self._sending.values(), return_exceptions=True)
        for channel in self.channels:
            await channel.notifier.aclose()

    async def _send_due(self, channel: Channel) -> None:
        while (letter := self._next(channel)) and await self._sent(channel, letter):
            pass

    def _next(self, channel: Channel) -> Letter | None:
        """Return the oldest letter that may be tried now; many at once are made one first."""
        now = self._clock()
        _, until = self._rests.get(channel.name, (0, now))
        if waits(until, now):
            return None
        pending = self._book.letters(channel.name)
        single = [letter for letter in pending if letter.notification.kind is not Kind.DIGEST]
        if len(single) > channel.digest_above:
            said = digest_of([letter.notification for letter in single], now=now)
            digest = Letter(channel=channel.name, notification=said, not_before=now)
            self._book.settle([replace(s, state=LetterState.DIGESTED) for s in single], digest=digest)
            self.outcomes[channel.name]["digested"] += len(single)
            pending = self._book.letters(channel.name)
        return next((letter for letter in pending if not waits(letter.not_before, now)), None)

    async def _sent(self, channel: Channel, letter: Letter) -> bool:
        """Send one letter and put down what became of it; say whether the channel may go on at once."""
        said, outcomes = letter.notification, self.outcomes[channel.name]
        about = {"channel": channel.name, "notification": said.id, "kind": said.kind.value}
        try:
            await channel.notifier.send(said)
        except NotSent as error:
            outcomes["failed"] += 1
            after = self._failed(channel, letter, error)
            self._book.settle([after])
            outcomes["dead"] += after.state is LetterState.DEAD
            word = "dead_letter" if after.state is LetterState.DEAD else "not_notified"
            log.warning(word, extra={**about, "try": after.failures, "why": after.why})
            return isinstance(error, NotificationRefused)
        self._rests.pop(channel.name, None)
        self._book.settle([replace(letter, state=LetterState.SENT, why="")])
        outcomes["sent"] += 1
        log.info("notified", extra=about)
        return True

    def _failed(self, channel: Channel, letter: Letter, error: NotSent) -> Letter:
        """Let the channel rest, unless this letter alone was refused; say when the letter is tried again, or never."""
        now, failures = self._clock(), letter.failures + 1
        late = now - letter.notification.at >= timedelta(hours=channel.max_age_hours)
        after = replace(letter, failures=failures, why=str(error))
        if isinstance(error, NotificationRefused):
            return replace(after, state=LetterState.DEAD)
        draw = self._draw()
        self._rest(channel, draw, asked=error.delay_seconds)
        wait = timedelta(seconds=delay_seconds(failures, draw=draw, asked=error.delay_seconds))
        return replace(after, not_before=now + wait, state=LetterState.DEAD if late else LetterState.PENDING)

    def _rest(self, channel: Channel, draw: float, *, asked: float | None = None) -> None:
        """Leave a channel alone for a while, longer each time in a row."""
        now = self._clock()
        in_a_row = self._rests.get(channel.name, (0, now))[0] + 1
        until = now + timedelta(seconds=delay_seconds(in_a_row, draw=draw, asked=asked))
        self._rests[channel.name] = (in_a_row, until)

    def to_json(self) -> list[dict[str, Any]]:
        """Say how each channel stands."""
        standings = self._book.standings() if self.channels else {}
        return [self._channel_json(c, standings.get(c.name, Standing())) for c in self.channels]

    def _channel_json(self, channel: Channel, standing: Standing) -> dict[str, Any]:
        oldest, counts = standing.oldest_at, standing.counts
        return {
            "channel": channel.name, "plugin": channel.plugin, "pending": counts.get(LetterState.PENDING, 0),
            "dead": counts.get(LetterState.DEAD, 0), "sent": counts.get(LetterState.SENT, 0),
            "oldest_at": oldest.isoformat() if oldest else None,
            "oldest_seconds": max(0.0, (self._clock() - oldest).total_seconds()) if oldest else 0.0,
            "why": standing.why, "outcomes": {k: self.outcomes[channel.name][k] for k in _OUTCOMES},
        }  # fmt: skip
