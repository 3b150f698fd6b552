"""Port: spans of what the daemon does, for traces. By default there are none, and nothing is paid for them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Protocol

from monitor.incident import Incident
from probes.judge import Judge, Judgement
from probes.probe import Probe
from probes.target import Completion

__all__ = ["NO_SPANS", "Span", "Spans", "TracedJudge", "Value"]

Value = str | int | float | bool
"""Of an attribute: names and figures, never a text that was asked or answered."""


class Span(Protocol):
    """One piece of work."""

    def note(self, attributes: Mapping[str, Value]) -> None:
        """Say more of it."""
        ...

    def drop(self) -> None:
        """Leave it out: nothing came of it."""
        ...


class Spans(Protocol):
    """Where spans go. None of it ever waits for anybody or raises."""

    def span(self, name: str, attributes: Mapping[str, Value]) -> AbstractContextManager[Span]:
        """Begin a span inside the present one; what ends it by an error marks it so."""
        ...

    def step(self, incident: Incident) -> AbstractContextManager[Span]:
        """Begin a step of an incident: a span of the incident's own trace, across restarts.

        A step that ends by an error leaves no span: it will be done again, under the same id.
        """
        ...

    def ended(self, incident: Incident) -> None:
        """Put down the span of a whole incident that has ended, which its steps are inside of."""
        ...

    def environment(self) -> Mapping[str, str]:
        """Return what a child process needs to go on inside the present span."""
        ...

    def close(self) -> None:
        """Send what is left, within a time."""
        ...


class _NoSpan:
    def note(self, attributes: Mapping[str, Value]) -> None:
        """Say nothing."""

    def drop(self) -> None:
        """Leave nothing out."""


class _NoSpans:
    @contextmanager
    def span(self, name: str, attributes: Mapping[str, Value]) -> Iterator[Span]:
        del name, attributes
        yield _NO_SPAN

    @contextmanager
    def step(self, incident: Incident) -> Iterator[Span]:
        del incident
        yield _NO_SPAN

    def ended(self, incident: Incident) -> None:
        """Put nothing down."""

    def environment(self) -> Mapping[str, str]:
        return {}

    def close(self) -> None:
        """Send nothing."""


_NO_SPAN = _NoSpan()
NO_SPANS: Spans = _NoSpans()
"""What there is where the settings ask for no traces."""


@dataclass(frozen=True, slots=True)
class TracedJudge:
    """A judge, each call a span."""

    inner: Judge
    spans: Spans

    @property
    def id(self) -> str:
        """The judge's own."""
        return self.inner.id

    @property
    def template_sha256(self) -> str:
        """The judge's own."""
        return self.inner.template_sha256

    async def judge(self, pairs: Sequence[tuple[Probe, Completion]]) -> tuple[Judgement, ...]:
        """Judge each pair, in order."""
        with self.spans.span("alignd.judge", {"alignd.judge": self.id}) as span:
            found = await self.inner.judge(pairs)
            span.note({"alignd.verdict": ",".join(j.verdict.value for j in found)})
            return found
