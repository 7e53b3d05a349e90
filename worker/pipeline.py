"""The story of a message:

receive → parse and authorize → claim → restore → run → commit → publish → acknowledge

`process` tells it from top to bottom. An entry point has received the message and carries out the
disposition that comes back.
"""

import random
from dataclasses import replace

from contracts import session_key
from worker.attempt import attempt
from worker.domain.admission import Rejection, admit, no_source
from worker.domain.claim import Busy, Claim, ClaimResult, Conflict, Deliver, Finished, NoSource
from worker.domain.disposition import Ack, DeadLetter, Disposition, Retry
from worker.domain.errors import LeaseLostError, UnavailableError
from worker.domain.events import rejected_event
from worker.domain.job import Job, JobRecord, JobState
from worker.domain.message import JOB_ID_ATTRIBUTE, InboundMessage
from worker.domain.trace import job_trace
from worker.domain.turn import backoff_seconds
from worker.metering import settle
from worker.ports import Ports

_DICE = random.Random()


async def process(
    message: InboundMessage, ports: Ports, seconds: float = float("inf")
) -> Disposition:
    """Take one delivery to its end. `seconds` is how long the host lets it take.

    Never raises for anything a message or an outside system can do: what is unknown is retried.
    """
    ports.journal.begin(message_id=message.message_id)
    try:
        message = await _as_first_sent(message, ports)
        admitted = admit(message, await ports.rules.current())
        if isinstance(admitted, Rejection):
            return await _reject(message, admitted, ports)
        job = admitted
        ports.journal.begin(
            job_trace(job.job_id, job.request.traceparent),
            message.sent_at,
            job_id=job.job_id,
            chat=job.session_key,
        )
        now = ports.clock.now()
        result = await ports.ledger.claim(job, ports.owner, now, ports.policy.lease_seconds)
        _note_claim(result, job, message, ports, now)
        match result:
            case Claim() as claim:
                ended = await attempt(claim, message, ports, seconds)
                return ended if isinstance(ended, Retry) else await _deliver(ended, ports)
            case Deliver(record):
                return await _deliver(record, ports)
            case Finished(record):
                return _ending(record)
            case Busy(wait):
                return Retry(wait, "busy")
            case Conflict() | NoSource():
                return await _reject(message, _refused(result, job), ports)
    except LeaseLostError as exc:
        ports.journal.note("lease_lost", error=str(exc))
        return Retry(None, "lease_lost")
    except UnavailableError as exc:
        ports.journal.note("unavailable", error=str(exc))
        return Retry(backoff_seconds(message.receive_count, _DICE), f"{exc.system}_unavailable")
    except Exception as exc:  # noqa: BLE001 - one message must not stop the others
        ports.journal.failure("internal_error", exc, message_id=message.message_id)
        return Retry(backoff_seconds(message.receive_count, _DICE), "internal_error")


def _note_claim(
    result: ClaimResult, job: Job, message: InboundMessage, ports: Ports, now: float
) -> None:
    """`waited`: seconds since the message was sent; a job's later attempts have waited for it."""
    figures: dict[str, object] = {"result": type(result).__name__}
    if isinstance(result, Claim):
        figures |= {"attempt": result.attempt, "takeover": result.takeover}
        if message.sent_at and result.attempt == 1:
            figures["waited"] = round(max(now - message.sent_at, 0.0), 3)
    ports.journal.note("claim", job_id=job.job_id, **figures)


async def _as_first_sent(message: InboundMessage, ports: Ports) -> InboundMessage:
    """A message that SQS itself dead-lettered, and that was sent back, keeps its job id."""
    earlier = message.earlier_job_id
    if earlier is None or await ports.ledger.get(earlier) is None:
        return message
    return replace(message, attributes={**message.attributes, JOB_ID_ATTRIBUTE: earlier})


async def _deliver(record: JobRecord, ports: Ports) -> Disposition:
    """Settle and publish a committed outcome, then say how the message ends."""
    await settle(record, ports)
    if record.event is not None:
        await ports.publisher.publish(record.event)
    await ports.ledger.mark_published(record, ports.clock.now())
    ports.journal.note("publish", job_id=record.job_id, state=record.state.value)
    return _ending(record)


def _ending(record: JobRecord) -> Disposition:
    """A failed or rejected job ends in the dead-letter queue, however often it is delivered."""
    if record.state in {JobState.FAILED, JobState.REJECTED}:
        return DeadLetter(
            record.job_id,
            record.error_code or record.state.value,
            record.error_message or "no reason was recorded",
            record.attempt,
        )
    return Ack()


async def _reject(message: InboundMessage, rejection: Rejection, ports: Ports) -> Disposition:
    """Tell the subscriber and the operator; nothing runs."""
    ports.journal.note("reject", job_id=rejection.job_id, reason=rejection.reason)
    now = ports.clock.now()
    record = await ports.ledger.reject(_rejected(message, rejection, now))
    if record.state is not JobState.REJECTED or record.error_code != rejection.reason:
        # The id belongs to another job: this message gets one of its own.
        rejection = replace(rejection, job_id=f"sqs-{message.message_id}")
        record = await ports.ledger.reject(_rejected(message, rejection, now))
    return await _deliver(record, ports)


def _refused(result: Conflict | NoSource, job: Job) -> Rejection:
    if isinstance(result, NoSource):
        return no_source(job.job_id, job.request)
    # Which chat is not said: it may be another bot's.
    return Rejection(
        job.job_id,
        "job_id_conflict",
        f"job_id: {job.job_id!r} was already used by another chat; a job id belongs to one chat, "
        "use a new one",
        job.request,
    )


def _session_of(rejection: Rejection) -> str:
    """The chat whose job was rejected; none when it could not be read."""
    request = rejection.request
    if request is None:
        return ""
    return session_key(request.chat_id, request.thread_id, request.tenant_id)


def _rejected(message: InboundMessage, rejection: Rejection, now: float) -> JobRecord:
    return JobRecord(
        job_id=rejection.job_id,
        session_key=_session_of(rejection),
        state=JobState.REJECTED,
        event=rejected_event(message, rejection, now),
        error_code=rejection.reason,
        error_message=rejection.error,
        created_at=now,
        updated_at=now,
    )
