"""Spans of the journal's steps, for the tracing systems that are there: X-Ray on Lambda, through
Powertools, and any that takes OpenTelemetry's OTLP. Neither is imported unless it is used.

A span is made when its step has ended, from the fields of the step's log line. Handing it over
costs microseconds: X-Ray's daemon gets a datagram, OTLP a batch from a thread of its own.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from worker.domain.errors import SettingsError
from worker.domain.trace import Trace

SERVICE = "agent-worker"
JOB = "job"
"""The name of the span that the steps of a job are in."""

_TOLD = (
    *("job_id", "chat", "attempt", "result", "warm", "verdict", "code", "cost_usd", "state"),
    *("subscription_id", "webhook_id", "event_type", "outcome", "status"),
)
_ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
_PROTOCOLS = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
_HEADERS = ("OTEL_EXPORTER_OTLP_TRACES_HEADERS", "OTEL_EXPORTER_OTLP_HEADERS")


@dataclass(frozen=True, slots=True)
class Span:
    """A step that has ended. Times are Unix seconds."""

    name: str
    trace: Trace
    began: float
    ended: float
    attributes: Mapping[str, str | int | float]
    failed: bool


class Exporter(Protocol):
    """Hands spans over, at once and without waiting for anything."""

    def export(self, span: Span) -> None: ...


def span_of(name: str, trace: Trace, began: float, ended: float, told: Mapping[str, Any]) -> Span:
    """The span of a log line; of its fields those that are ids, codes and figures."""
    attributes = {key: told[key] for key in _TOLD if told.get(key) is not None}
    failed = (
        told.get("verdict") == "Again"
        or told.get("state") in {"failed", "rejected"}
        or told.get("outcome", "delivered") != "delivered"
    )
    return Span(name, trace, began, ended, attributes, failed)


def exporters(environ: Mapping[str, str]) -> tuple[Exporter, ...]:
    """Those that the environment asks for. Raises SettingsError."""
    found: list[Exporter] = []
    # Lambda sets both; an emulator of it has no daemon.
    if {"AWS_LAMBDA_FUNCTION_NAME", "AWS_XRAY_DAEMON_ADDRESS"} <= environ.keys():
        found += XRay.wanted()
    disabled = environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true"
    named = next((name for name in _ENDPOINTS if environ.get(name)), None)
    if named and not disabled and environ.get("OTEL_TRACES_EXPORTER", "otlp") != "none":
        found.append(_otlp(named, environ))
    return tuple(found)


class XRay:
    """A subsegment of the invocation's segment for each step. Whether it is kept is Lambda's
    decision, which Powertools and the X-Ray SDK read from the environment.
    """

    def __init__(self, tracer: Any) -> None:  # noqa: ANN401 - Powertools' Tracer, imported late
        self._tracer = tracer

    @classmethod
    def wanted(cls) -> list["XRay"]:
        """None where Powertools finds tracing disabled."""
        from aws_lambda_powertools import Tracer  # noqa: PLC0415 - with it comes the X-Ray SDK

        tracer = Tracer(service=SERVICE, auto_patch=False)
        return [] if tracer.disabled else [cls(tracer)]

    def export(self, span: Span) -> None:
        if span.name == JOB:
            return  # the invocation's segment stands for it
        recorder = self._tracer.provider
        subsegment = recorder.begin_subsegment(span.name)
        if subsegment is None:
            return
        subsegment.start_time = span.began
        self._tracer.put_annotation("trace", span.trace.trace_id)
        for key, value in span.attributes.items():
            self._tracer.put_annotation(key, value)
        if span.failed:
            subsegment.add_fault_flag()
        recorder.end_subsegment(span.ended)


def _otlp(named: str, environ: Mapping[str, str]) -> Exporter:
    protocol = next((environ[name] for name in _PROTOCOLS if environ.get(name)), "http/protobuf")
    if protocol != "http/protobuf":
        raise SettingsError(
            [f"OTEL_EXPORTER_OTLP_PROTOCOL: is {protocol!r}; http/protobuf is the one spoken here"]
        )
    try:
        from worker.adapters.otlp import Otlp  # noqa: PLC0415 - an extra, and seldom used
    except ImportError as exc:
        problem = (
            f"{named}: is set, and {exc.name} is not installed; install agent-worker[otel], or set "
            "OTEL_SDK_DISABLED=true"
        )
        raise SettingsError([problem]) from exc
    headers = next((environ[name] for name in _HEADERS if environ.get(name)), "")
    named_by_user = "OTEL_SERVICE_NAME" in environ or "service.name=" in environ.get(
        "OTEL_RESOURCE_ATTRIBUTES", ""
    )
    return Otlp(headers, None if named_by_user else SERVICE)
