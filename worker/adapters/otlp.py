"""Spans to an OpenTelemetry collector, OTLP over HTTP. Everything else is said by the SDK's own
environment variables: endpoint, sampler, batches, time limits, resource.
"""

import os

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.sampling import Decision
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import (
    NonRecordingSpan,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
    set_span_in_context,
)
from opentelemetry.util.re import parse_env_headers

from worker.adapters.spans import JOB, Span

BATCH_SECONDS = 3.0
"""For a batch, its repeats included, unless the SDK's own variables say otherwise: a stopping host
waits so long for a collector that is away.
"""
_TIMEOUTS = {"OTEL_EXPORTER_OTLP_TIMEOUT", "OTEL_EXPORTER_OTLP_TRACES_TIMEOUT"}
_SCOPE = InstrumentationScope("agent-worker")
_KINDS = {
    JOB: SpanKind.CONSUMER,
    "publish": SpanKind.PRODUCER,
    "webhook_attempt": SpanKind.CLIENT,
}


class Otlp:
    """The ids are the journal's and not the SDK's, which would draw its own: so finished spans are
    handed to the SDK's batch processor. What is waiting is sent when the process ends.
    """

    def __init__(self, headers: str, service: str | None) -> None:
        resource = Resource.create({"service.name": service} if service else {})
        self._provider = TracerProvider(resource=resource)  # flushes when the process ends
        self._processor = BatchSpanProcessor(
            OTLPSpanExporter(
                headers=parse_env_headers(headers, liberal=True),
                timeout=None if _TIMEOUTS & os.environ.keys() else BATCH_SECONDS,
            )
        )
        self._provider.add_span_processor(self._processor)

    def export(self, span: Span) -> None:
        if not self._sampled(span):
            return
        self._processor.on_end(
            ReadableSpan(
                span.name,
                context=_context(span, span.trace.span_id),
                parent=_context(span, span.trace.parent_id) if span.trace.parent_id else None,
                resource=self._provider.resource,
                attributes=dict(span.attributes),
                kind=_KINDS.get(span.name, SpanKind.INTERNAL),
                status=Status(StatusCode.ERROR if span.failed else StatusCode.UNSET),
                start_time=int(span.began * 1e9),
                end_time=int(span.ended * 1e9),
                instrumentation_scope=_SCOPE,
            )
        )

    def _sampled(self, span: Span) -> bool:
        """As OTEL_TRACES_SAMPLER says; by default as the bot did, and a trace of the job's own."""
        trace, above = span.trace, None
        if trace.remote and trace.parent_id:
            flags = TraceFlags(TraceFlags.SAMPLED if trace.sampled else TraceFlags.DEFAULT)
            context = SpanContext(int(trace.trace_id, 16), int(trace.parent_id, 16), True, flags)
            above = set_span_in_context(NonRecordingSpan(context))
        decided = self._provider.sampler.should_sample(above, int(trace.trace_id, 16), span.name)
        return decided.decision is Decision.RECORD_AND_SAMPLE


def _context(span: Span, span_id: str) -> SpanContext:
    """Of a span that is exported. The job's parent is the bot's span, elsewhere."""
    return SpanContext(
        int(span.trace.trace_id, 16),
        int(span_id, 16),
        is_remote=span.name == JOB,
        trace_flags=TraceFlags(TraceFlags.SAMPLED),
    )
