"""One JSON log line per step, through Powertools, and the metrics that follow from it.

Steps carry ids, codes and figures; message text and secrets are never given to it. Whatever is
observed of a job is here: a line of it names the job, its chat, its attempt, its trace and the
step's span, and says how long the step took.
"""

import time
import traceback
from contextvars import ContextVar
from dataclasses import dataclass, field

from aws_lambda_powertools import Logger

from worker.adapters.metrics import Metrics
from worker.domain.trace import Trace

STEPS = frozenset({"claim", "restore", "run", "commit", "publish"})
"""The steps of a job: each is as long as the time since the one before it."""


@dataclass
class _Work:
    """What the lines of one delivery have in common. One object for all tasks of the delivery."""

    fields: dict[str, object] = field(default_factory=dict)
    trace: Trace | None = None
    since: float = field(default_factory=time.monotonic)


_WORK: ContextVar[_Work | None] = ContextVar("work", default=None)


class PowertoolsJournal:
    """The journal port on Powertools Logger (level by LOG_LEVEL)."""

    def __init__(self, level: str = "INFO", metrics: Metrics | None = None) -> None:
        self._logger = Logger(service="agent-worker", level=level, use_rfc3339=True, utc=True)
        self._logger.remove_keys(["location"])  # it would be this module, always
        self._metrics = metrics

    def begin(self, trace: Trace | None = None, **fields: object) -> None:
        _WORK.set(_Work(fields, trace))

    def note(self, step: str, **fields: object) -> None:
        told = _told(step, fields)
        self._logger.info(step, extra=told)
        if self._metrics is not None:
            self._metrics.count(step, told)

    def failure(self, step: str, exc: BaseException, **fields: object) -> None:
        where = [
            f"{frame.filename}:{frame.lineno}" for frame in traceback.extract_tb(exc.__traceback__)
        ]
        told = _told(step, fields) | {"error": type(exc).__name__, "where": where}
        self._logger.error(step, extra=told)
        if self._metrics is not None:
            self._metrics.count(step, told)


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
        span = work.trace.child(step, told.get("attempt"))
        told |= {
            "trace": span.trace_id,
            "span": span.span_id,
            "parent_span": work.trace.span_id,
        }
    return told
