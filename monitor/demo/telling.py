"""What the demo prints while it works: each stage, how long it took, and about how long is left."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console

__all__ = ["STAGES", "Telling"]

STAGES: dict[str, float] = {
    "make the models": 5,
    "serve the aligned release": 30,
    "watch until it is certified, and measure it": 75,
    "deploy the customer's fine-tune": 5,
    "notice, contain, repair, verify, promote": 300,
    "write the report": 12,
}
"""Stages in order, with the seconds that each took on two cores with a warm cache."""


class Telling:
    """Prints stages and keeps their seconds."""

    def __init__(self, console: Console) -> None:
        """Take where to print."""
        self._console = console
        self._began = time.monotonic()
        self._last = ""
        self.seconds: list[tuple[str, float]] = []

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Announce a stage and what is left, then say how long it took."""
        left = sum(list(STAGES.values())[list(STAGES).index(name) :])
        began = time.monotonic()
        self._console.print(f"[bold]{self._clock()}  {name}[/]  [dim]about {_span(left)} left in all[/]")
        yield
        took = time.monotonic() - began
        self.seconds.append((name, took))
        self._console.print(f"[dim]{self._clock()}    done in {took:.0f} s[/]", highlight=False)

    def say(self, text: str) -> None:
        """Print one line of what is going on, unless it was the last one."""
        if text != self._last:
            self._last = text
            self._console.print(f"{self._clock()}    {text}", highlight=False, markup=False)

    @property
    def total(self) -> float:
        """Seconds since the demo began."""
        return time.monotonic() - self._began

    def _clock(self) -> str:
        minutes, seconds = divmod(int(self.total), 60)
        return f"{minutes:2d}:{seconds:02d}"


def _span(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min"
