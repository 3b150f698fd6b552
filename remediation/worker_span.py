"""The worker's part of a trace: one span inside the step that started it, where the environment names one."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from remediation.patch import PatchRequest

__all__ = ["worker_span"]


@contextmanager
def worker_span(request: PatchRequest) -> Iterator[None]:
    """Put a span around the work, if ``TRACEPARENT`` is set and OpenTelemetry is there.

    The collector's address is in the environment too. The span is sent after the work, within the exporter's time;
    where that fails the trace lacks a span, and no more is lost.
    """
    if "TRACEPARENT" not in os.environ or "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT" not in os.environ:
        yield
        return
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
    except ImportError:
        yield
        return
    provider = TracerProvider(resource=Resource.create({"service.name": "alignd-worker"}), shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    parent = TraceContextTextMapPropagator().extract({"traceparent": os.environ["TRACEPARENT"]})
    about = {"alignd.incident": request.incident, "alignd.recipe": request.recipe}
    try:
        with provider.get_tracer("alignd").start_as_current_span(
            "alignd.patch", context=parent, attributes=about, record_exception=False
        ):
            yield
    finally:
        provider.shutdown()
