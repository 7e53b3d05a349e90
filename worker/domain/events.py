"""The final event of a job, built once and stored with the commit, so that every publication of it
is the same event.
"""

import json
from datetime import UTC, datetime
from typing import Any

from contracts import (
    JobCancelled,
    JobCancelledEvent,
    JobCompleted,
    JobCompletedEvent,
    JobFailed,
    JobFailedEvent,
    JobProgress,
    JobProgressEvent,
    JobRejected,
    JobRejectedEvent,
    JobStarted,
    JobStartedEvent,
)
from contracts.envelope import JobEvent, OfJob
from contracts.progress import MAX_PROGRESS_TEXT
from worker.domain.admission import Rejection
from worker.domain.claim import Claim
from worker.domain.message import InboundMessage
from worker.domain.progress import Numbered, Started, ToolCall
from worker.domain.trace import job_trace
from worker.domain.turn import Conclude, spent_by

MAX_EVENT_BYTES = 240 * 1024
"""SNS and EventBridge both take 256 KiB, attributes and envelope included."""

NOT_RUN = "the job was cancelled before its turn was run"

BEGINNING_CHARACTERS = 4000
"""How much of a response that is too large stays in the event."""


def completed_event(claim: Claim, conclusion: Conclude, now: float) -> JobCompletedEvent:
    """The turn took place."""
    result = conclusion.result
    total = claim.spent.plus(spent_by(result))
    data = JobCompleted(
        **_about(claim),
        is_error=conclusion.is_error,
        error_message=conclusion.error_message,
        response=result.text,
        session_id=claim.plan.session_id,
        session_status=claim.plan.status,
        session_note=claim.plan.note,
        model=claim.job.spec.model,
        cost_usd=total.cost_usd,
        num_turns=total.num_turns,
        stop_reason=conclusion.stop_reason,
        structured_output=result.structured_output,
        usage=result.usage,
        duration_ms=total.duration_ms,
        attempt=claim.attempt,
    )
    return JobCompletedEvent.of(data, time=_utc(now), traceparent=_published(claim))


def cancelled_event(claim: Claim, conclusion: Conclude | None, now: float) -> JobCancelledEvent:
    """The job was cancelled: its turn interrupted, or not begun (again)."""
    request = claim.cancel
    result = conclusion.result if conclusion else None
    total = claim.spent.plus(spent_by(result)) if result else claim.spent
    data = JobCancelled(
        **_about(claim),
        error_message=(conclusion and conclusion.error_message) or NOT_RUN,
        response=result.text[:BEGINNING_CHARACTERS] if result else "",
        session_id=claim.plan.session_id if conclusion else claim.head.session_id,
        session_status=claim.plan.status if conclusion else None,
        session_note=claim.plan.note if conclusion else None,
        model=claim.job.spec.model,
        cost_usd=total.cost_usd,
        num_turns=total.num_turns,
        stop_reason="cancelled",
        usage=result.usage if result else {},
        duration_ms=total.duration_ms,
        attempt=claim.attempt,
        started=conclusion is not None or claim.attempt > 1,
        cancelled_by=request and request.requested_by,
        requested_at=request and _utc(request.requested_at),
    )
    return JobCancelledEvent.of(data, time=_utc(now), traceparent=_published(claim))


def step_event(claim: Claim, numbered: Numbered, now: float) -> str:
    """Something that happened while the turn runs."""
    about = {**_about(claim), "attempt": claim.attempt}
    step = numbered.step
    if isinstance(step, Started):
        started = JobStarted(**about, model=claim.job.spec.model)
        return _placed(JobStartedEvent, started, claim, numbered, now)
    if isinstance(step, ToolCall):
        told: dict[str, Any] = {"kind": "tool", "tool": step.name, "summary": step.summary}
    else:
        end = step.text[-MAX_PROGRESS_TEXT:]
        told = {"kind": "text", "text": end, "text_offset": len(step.text) - len(end)}
    data = JobProgress(
        **about,
        **told,
        num_turns=step.num_turns,
        tool_calls=step.tool_calls,
        elapsed_ms=max(round((now - claim.claimed_at) * 1000), 0),
    )
    return _placed(JobProgressEvent, data, claim, numbered, now)


def _placed(
    event: type[JobEvent[OfJob]], data: OfJob, claim: Claim, numbered: Numbered, now: float
) -> str:
    traceparent = _published(claim)
    told = event.of(data, time=_utc(now), traceparent=traceparent, number=numbered.number)
    return told.to_json()


def too_large(event: str) -> bool:
    """Whether an event must leave its response behind."""
    return len(event.encode()) > MAX_EVENT_BYTES


def pointing(event: JobCompletedEvent, ref: dict[str, Any]) -> JobCompletedEvent:
    """The same event with the beginning of its response and a pointer to the whole of it.

    A structured output that alone is too large is left out: the response is its JSON.
    """
    data = event.data.model_dump()
    data |= {"response": data["response"][:BEGINNING_CHARACTERS], "response_ref": ref}
    if too_large(json.dumps(data["structured_output"])):
        data["structured_output"] = None
    return event.model_copy(update={"data": JobCompleted.model_validate(data)})


def failed_event(claim: Claim, code: str, message: str, now: float) -> str:
    """All attempts failed."""
    data = JobFailed(
        **_about(claim),
        error_code=code,
        error_message=message,
        session_id=claim.head.session_id,
        model=claim.job.spec.model,
        cost_usd=claim.spent.cost_usd,
        num_turns=claim.spent.num_turns,
        attempt=claim.attempt,
    )
    event = JobFailedEvent.of(data, time=_utc(now), traceparent=_published(claim))
    return event.to_json()


def rejected_event(message: InboundMessage, rejection: Rejection, now: float) -> str:
    """The message is not a job."""
    request = rejection.request
    data = JobRejected(
        job_id=rejection.job_id,
        tenant_id=request.tenant_id if request else None,
        chat_id=request.chat_id if request else None,
        thread_id=request.thread_id if request else None,
        error_message=rejection.error,
        reason=rejection.reason,
        message_id=message.message_id,
        metadata=dict(request.metadata) if request else {},
    )
    trace = job_trace(rejection.job_id, request.traceparent if request else None)
    traceparent = trace.child("publish", 0).traceparent
    return JobRejectedEvent.of(data, time=_utc(now), traceparent=traceparent).to_json()


def _about(claim: Claim) -> dict[str, Any]:
    request = claim.job.request
    return {
        "job_id": claim.job.job_id,
        "tenant_id": request.tenant_id,
        "chat_id": request.chat_id,
        "thread_id": request.thread_id,
        "metadata": dict(request.metadata),
    }


def _published(claim: Claim) -> str:
    """The span of the publication: what a subscriber does follows from it."""
    job = claim.job
    return (
        job_trace(job.job_id, job.request.traceparent).child("publish", claim.attempt).traceparent
    )


def _utc(now: float) -> datetime:
    return datetime.fromtimestamp(now, UTC)
