"""The pause switch: a target is not probed while a person says so."""

from __future__ import annotations

from datetime import datetime

from monitor.store import Pause, PauseBook

__all__ = ["in_force", "pause_in_force", "pause_words"]


def pause_in_force(book: PauseBook, target: str, now: datetime) -> Pause | None:
    """Return a target's pause, unless it has ended by itself."""
    return in_force(book.pause_of(target), now)


def in_force(pause: Pause | None, now: datetime) -> Pause | None:
    """Return a pause, unless it has ended by itself."""
    return pause if pause and (pause.until is None or now < pause.until) else None


def pause_words(pause: Pause) -> str:
    """Say who paused, until when and why."""
    until = f" until {pause.until:%Y-%m-%d %H:%M} UTC" if pause.until else ""
    return f"paused by {pause.by}{until}{f': {pause.why}' if pause.why else ''}"
