"""One JSON log line per step, through Powertools, and the metrics that follow from it.

Steps carry ids, codes and figures; message text and secrets are never given to it. Whatever is
observed of a job is here: a line of it names the job, its chat, its attempt, its trace and the
step's span, and says how long the step took. Metrics and spans are made of the same lines.
"""

import time
import traceback
from collections.abc import Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field

from aws_lambda_powertools import Logger

from worker.adapters.metrics import Metrics
from worker.adapters.spans import JOB, Exporter, span_of
from worker.domain.trace import Trace

STEPS = frozenset({"claim", "restore", "run", "commit", "publish"})
"""The steps of a job: each is as long as the time since the one before it."""
SPANS = STEPS | {"webhook_attempt"}


@dataclass
class _Work:
    """What the lines of one delivery have in common. One object for all tasks of the delivery."""

    fields: dict[str, object] = field(default_factory=dict)
    trace: Trace | None = None
    sent_at: float | None = None
    since: float = field(default_factory=time.monotonic)


_WORK: ContextVar[_Work | None] = ContextVar("work", default=None)


class PowertoolsJournal:
    """The journal port on Powertools Logger (level by LOG_LEVEL)."""

    def __init__(
        self,
        level: str = "INFO",
        metrics: Metrics | None = None,
        exporters: Sequence[Exporter] = (),
    ) -> None:
        self._logger = Logger(service="agent-worker", level=level, use_rfc3339=True, utc=True)
        self._logger.remove_keys(["location"])  # it would be this module, always
        self._metrics = metrics
        self._exporters = exporters

    def begin(
        self, trace: Trace | None = None, sent_at: float | None = None, **fields: object
    ) -> None:
        _WORK.set(_Work(fields, trace, sent_at))

    def note(self, step: str, **fields: object) -> None:
        told = _told(step, fields)
        self._logger.info(step, extra=told)
        if self._metrics is not None:
            self._metrics.count(step, told)
        if self._exporters and step in SPANS:
            self._export(step, told)

    def failure(self, step: str, exc: BaseException, **fields: object) -> None:
        where = [
            f"{frame.filename}:{frame.lineno}" for frame in traceback.extract_tb(exc.__traceback__)
        ]
        told = _told(step, fields) | {"error": type(exc).__name__, "where": where}
        self._logger.error(step, extra=told)
        if self._metrics is not None:
            self._metrics.count(step, told)

    def _export(self, step: str, told: dict[str, object]) -> None:
        """The span of a step, and with the last one that of the job."""
        work = _WORK.get()
        if work is None or work.trace is None:
            return
        now, seconds = time.time(), told["seconds"]
        began = now - seconds if isinstance(seconds, float) else now
        spans = [span_of(step, _span(work.trace, step, told), began, now, told)]
        if step == "publish":
            spans.append(span_of(JOB, work.trace, work.sent_at or began, now, told))
        for exporter in self._exporters:
            for span in spans:
                try:
                    exporter.export(span)
                except Exception as exc:  # noqa: BLE001 - a trace is not worth a turn
                    self._logger.warning("span_lost", extra={"error": type(exc).__name__})


def _span(trace: Trace, step: str, told: dict[str, object]) -> Trace:
    whose = [told["subscription_id"]] if "subscription_id" in told else []
    return trace.child(step, told.get("attempt"), *whose)


def _told(step: str, fields: dict[str, object]) -> dict[str, object]:
    """The line's fields, with what is known of the work that it belongs to."""
    work = _WORK.get()
    if work is None:
        return fields
    if "attempt" in fields:
        work.fields["attempt"] = fields["attempt"]
    told = {**work.fields, **fields}
    if step in STEPS:
        now = time.monotonic()
        told.setdefault("seconds", round(now - work.since, 4))
        work.since = now
    if work.trace is not None:
        span = _span(work.trace, step, told)
        told |= {
            "trace": span.trace_id,
            "span": span.span_id,
            "parent_span": work.trace.span_id,
        }
    return told
