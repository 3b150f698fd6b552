"""How often something was done since the start, by reason; a counter of Prometheus."""

from __future__ import annotations

from collections.abc import Iterable

__all__ = ["Counts"]


class Counts:
    """A counter for each reason. All reasons are there from the start, so that the first of each shows as a rise."""

    def __init__(self, reasons: Iterable[str]) -> None:
        """Take the reasons: words for a label."""
        self._counts = dict.fromkeys(reasons, 0)

    def add(self, reason: str) -> None:
        """Count one."""
        self._counts[reason] += 1

    def __getitem__(self, reason: str) -> int:
        """Return how many there were for a reason."""
        return self._counts[reason]

    def page(self, name: str, text: str) -> str:
        """Return Prometheus' text format, with the reason as label."""
        lines = [f'{name}{{reason="{reason}"}} {count}' for reason, count in self._counts.items()]
        return "\n".join([f"# HELP {name} {text}", f"# TYPE {name} counter", *lines, ""])
