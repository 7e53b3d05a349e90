"""W3C Trace Context: where a job's work stands in the trace that its bot began.

Ids follow from the job's, so that every attempt, on whichever machine, is in the same trace, and a
repeated event carries what the first one did. A job whose bot sent no trace gets one of its own.
"""

import hashlib
import re
from dataclasses import dataclass

_TRACEPARENT = re.compile(
    r"[0-9a-f]{2}-(?P<trace>[0-9a-f]{32})-(?P<span>[0-9a-f]{16})-(?P<flags>[0-9a-f]{2})(-.*)?"
)
SAMPLED = 0x01


@dataclass(frozen=True, slots=True)
class Trace:
    """One span: `trace_id` has 32 hex digits, `span_id` and `parent_id` 16. `remote`: the trace was
    begun elsewhere, and `sampled` was decided there.
    """

    trace_id: str
    span_id: str
    sampled: bool
    parent_id: str | None = None
    remote: bool = False

    def child(self, *names: object) -> "Trace":
        """The span below this one that is called so."""
        span_id = _digits(16, self.trace_id, self.span_id, *names)
        return Trace(self.trace_id, span_id, self.sampled, self.span_id, self.remote)

    @property
    def traceparent(self) -> str:
        """The header's value, version 00."""
        return f"00-{self.trace_id}-{self.span_id}-{int(self.sampled):02x}"


def read_trace(traceparent: str | None) -> Trace | None:
    """The span that a header names; None if it names none."""
    found = _TRACEPARENT.fullmatch(traceparent or "")
    if found is None:
        return None
    sampled = bool(int(found["flags"], 16) & SAMPLED)
    return Trace(found["trace"], found["span"], sampled, remote=True)


def job_trace(job_id: str, traceparent: str | None) -> Trace:
    """The span of a job, below the one that its request names."""
    above = read_trace(traceparent)
    if above is None:
        return Trace(_digits(32, "trace", job_id), _digits(16, "job", job_id), sampled=False)
    return above.child("job", job_id)


def _digits(number: int, *parts: object) -> str:
    """Hex digits, which are not all zero: that would be no id."""
    text = "\n".join(str(part) for part in parts)
    return hashlib.sha256(text.encode()).hexdigest()[: number - 1] + "1"
