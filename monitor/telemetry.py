"""Spans by OpenTelemetry, sent over OTLP/HTTP by a thread of its own; imported only where traces are asked for."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from threading import Thread

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.sdk.trace.sampling import ParentBased, Sampler, SamplingResult, TraceIdRatioBased
from opentelemetry.trace import (
    Link,
    NonRecordingSpan,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
    TraceState,
    get_current_span,
    set_span_in_context,
    use_span,
)
from opentelemetry.util.types import Attributes

from monitor import __version__
from monitor.incident import Incident, State
from monitor.spans import Span, Value

__all__ = ["Destination", "OpenTelemetrySpans", "incident_span_id", "incident_trace_id"]

_INCIDENT = "alignd.incident"
_DELAY_MILLISECONDS = 1000.0
"""As long as spans wait for others; a kill loses what waits."""
_TRACEPARENT = "00-{:032x}-{:016x}-01"


@dataclass(frozen=True, slots=True, kw_only=True)
class Destination:
    """Where spans go; see ``monitor.daemon_settings.TracingSettings``."""

    endpoint: str
    headers: Mapping[str, str]
    timeout_seconds: float
    queue: int
    sample_ratio: float
    ca_file: Path | None = None


def incident_trace_id(incident: str) -> int:
    """Return the trace of an incident: the same in each process that works on it."""
    return int.from_bytes(hashlib.sha256(f"alignd incident {incident}".encode()).digest()[:16])


def incident_span_id(incident: str, step: int) -> int:
    """Return the span of an incident's step, by the number of its events before it; of 0, of the whole incident."""
    return int.from_bytes(hashlib.sha256(f"alignd step {step} of {incident}".encode()).digest()[:8])


class OpenTelemetrySpans:
    """Puts spans into a bounded queue; where the collector is away they are left out, and nothing waits."""

    def __init__(self, destination: Destination) -> None:
        """Take where spans go; nothing is sent yet."""
        self._to = destination
        exporter = OTLPSpanExporter(
            endpoint=destination.endpoint, headers=dict(destination.headers), timeout=destination.timeout_seconds,
            certificate_file=str(destination.ca_file) if destination.ca_file else None,
        )  # fmt: skip
        self._provider = TracerProvider(
            resource=Resource.create({"service.name": "alignd", "service.version": __version__}),
            sampler=ParentBased(root=_Incidents(destination.sample_ratio)), id_generator=_Ids(), shutdown_on_exit=False,
        )  # fmt: skip
        batches = BatchSpanProcessor(
            exporter, max_queue_size=destination.queue, schedule_delay_millis=_DELAY_MILLISECONDS,
            max_export_batch_size=min(512, destination.queue),
            export_timeout_millis=destination.timeout_seconds * 1000,
        )  # fmt: skip
        self._provider.add_span_processor(batches)
        self._tracer = self._provider.get_tracer("alignd", __version__)

    @contextmanager
    def span(self, name: str, attributes: Mapping[str, Value]) -> Iterator[Span]:
        """Begin a span inside the present one."""
        inner = self._tracer.start_span(name, attributes=dict(attributes))
        span = _Span(inner)
        with use_span(inner, end_on_exit=False, record_exception=False, set_status_on_exception=False):
            try:
                yield span
            except BaseException as error:
                inner.set_status(Status(StatusCode.ERROR, type(error).__name__))
                raise
            finally:
                if not span.dropped:
                    inner.end()

    @contextmanager
    def step(self, incident: Incident) -> Iterator[Span]:
        """Begin a step of an incident, linked to the one before it."""
        number = len(incident.events)
        links = [Link(_context(incident.id, number - 1))] if number > 1 else []
        token = _NEXT.set((incident_trace_id(incident.id), incident_span_id(incident.id, number)))
        try:
            inner = self._tracer.start_span(
                f"alignd.step {incident.state.value}", links=links, attributes=_attributes(incident),
                context=set_span_in_context(NonRecordingSpan(_context(incident.id, 0)), Context()),
            )  # fmt: skip
        finally:
            _NEXT.reset(token)
        span = _Span(inner)
        with use_span(inner, end_on_exit=False, record_exception=False, set_status_on_exception=False):
            yield span
        if not span.dropped:
            inner.end()

    def ended(self, incident: Incident) -> None:
        """Put down the span of a whole incident, from its first event to its last."""
        token = _NEXT.set((incident_trace_id(incident.id), incident_span_id(incident.id, 0)))
        try:
            whole = self._tracer.start_span(
                _INCIDENT, context=Context(), attributes=_attributes(incident), start_time=_ns(incident.opened_at)
            )
        finally:
            _NEXT.reset(token)
        if incident.state is State.ESCALATED:
            whole.set_status(Status(StatusCode.ERROR, incident.state.value))
        whole.end(_ns(incident.events[-1].at))

    def environment(self) -> Mapping[str, str]:
        """Return the present span, and where spans go, under the names that OpenTelemetry gives them."""
        here, to = get_current_span().get_span_context(), self._to
        if not here.is_valid or not here.trace_flags.sampled:
            return {}
        found = {
            "TRACEPARENT": _TRACEPARENT.format(here.trace_id, here.span_id),
            "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": to.endpoint,
            "OTEL_EXPORTER_OTLP_TRACES_TIMEOUT": f"{to.timeout_seconds:g}",
            "OTEL_EXPORTER_OTLP_TRACES_HEADERS": ",".join(f"{k}={v}" for k, v in to.headers.items()),
        }
        if to.ca_file:
            found["OTEL_EXPORTER_OTLP_TRACES_CERTIFICATE"] = str(to.ca_file)
        return found

    def close(self) -> None:
        """Send what is left; where the collector does not take it in time it is given up, the thread with it."""
        sending = Thread(target=self._provider.shutdown, name="spans", daemon=True)
        sending.start()
        sending.join(self._to.timeout_seconds)


@dataclass(slots=True)
class _Span:
    """A span of OpenTelemetry; one that is dropped is never ended, and so never sent."""

    inner: trace.Span
    dropped: bool = False

    def note(self, attributes: Mapping[str, Value]) -> None:
        self.inner.set_attributes(dict(attributes))

    def drop(self) -> None:
        self.dropped = True


_NEXT: ContextVar[tuple[int, int] | None] = ContextVar("alignd_next_ids", default=None)
"""Ids of the trace and the span that begins next, where they are known beforehand."""


class _Ids(RandomIdGenerator):
    def generate_trace_id(self) -> int:
        given = _NEXT.get()
        return given[0] if given else super().generate_trace_id()

    def generate_span_id(self) -> int:
        given = _NEXT.get()
        return given[1] if given else super().generate_span_id()


class _Incidents(TraceIdRatioBased):
    """Keeps a share of all traces, and every incident's."""

    def should_sample(
        self, parent_context: Context | None, trace_id: int, name: str, kind: SpanKind | None = None,
        attributes: Attributes = None, links: Sequence[Link] | None = None, trace_state: TraceState | None = None,
    ) -> SamplingResult:  # fmt: skip
        chosen: Sampler = _ALL if name == _INCIDENT else super()  # type: ignore[assignment]
        return chosen.should_sample(parent_context, trace_id, name, kind, attributes, links, trace_state)


_ALL = TraceIdRatioBased(1.0)


def _context(incident: str, step: int) -> SpanContext:
    return SpanContext(
        incident_trace_id(incident), incident_span_id(incident, step), is_remote=True,
        trace_flags=TraceFlags(TraceFlags.SAMPLED),
    )  # fmt: skip


def _attributes(incident: Incident) -> dict[str, Value]:
    return {
        "alignd.incident": incident.id, "alignd.target": incident.target, "alignd.release": incident.release,
        "alignd.state": incident.state.value, "alignd.candidate": incident.candidate,
        "alignd.attempt": incident.attempt,
    }  # fmt: skip


def _ns(at: datetime) -> int:
    return int(at.timestamp() * 1e9)
