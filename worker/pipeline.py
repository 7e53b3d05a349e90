"""The story of a message:

receive → parse and authorize → claim → restore → run → commit → publish → acknowledge

`process` tells it from top to bottom. An entry point has received the message and carries out the
disposition that comes back.
"""

import asyncio
import random
import uuid
from dataclasses import replace

from contracts import JobCompletedEvent
from worker.domain.admission import Rejection, admit
from worker.domain.claim import Busy, Claim, Conflict, Deliver, Finished
from worker.domain.disposition import Ack, DeadLetter, Disposition, Retry
from worker.domain.errors import LeaseLostError, StateDamagedError, UnavailableError
from worker.domain.events import (
    completed_event,
    failed_event,
    pointing,
    rejected_event,
    too_large,
)
from worker.domain.job import JobRecord, JobState
from worker.domain.message import InboundMessage
from worker.domain.session import reset_session
from worker.domain.turn import (
    Again,
    Conclude,
    GiveUp,
    backoff_seconds,
    judge,
    retry_or_give_up,
)
from worker.lease import kept
from worker.ports import Checkout, Commit, Ports, Turn

_DICE = random.Random()


async def process(
    message: InboundMessage, ports: Ports, seconds: float = float("inf")
) -> Disposition:
    """Take one delivery to its end. `seconds` is how long the host lets it take.

    Never raises for anything a message or an outside system can do: what is unknown is retried.
    """
    try:
        admitted = admit(message, ports.policy)
        if isinstance(admitted, Rejection):
            return await _reject(message, admitted, ports)
        job = admitted
        result = await ports.ledger.claim(
            job, ports.owner, ports.clock.now(), ports.policy.lease_seconds
        )
        ports.journal.note("claim", job_id=job.job_id, result=type(result).__name__)
        match result:
            case Claim() as claim:
                return await _claimed(claim, message, ports, seconds)
            case Deliver(record):
                return await _deliver(record, ports)
            case Finished(record):
                return _ending(record)
            case Busy(wait):
                return Retry(wait, "busy")
            case Conflict(record):
                return await _reject(
                    message,
                    Rejection(
                        job.job_id,
                        "job_id_conflict",
                        f"job_id: {job.job_id!r} was already used by chat {record.session_key!r}; "
                        "a job id belongs to one chat, use a new one",
                        job.request,
                    ),
                    ports,
                )
    except LeaseLostError as exc:
        ports.journal.note("lease_lost", error=str(exc))
        return Retry(None, "lease_lost")
    except UnavailableError as exc:
        ports.journal.note("unavailable", error=str(exc))
        return Retry(backoff_seconds(message.receive_count, _DICE), f"{exc.system}_unavailable")


async def _claimed(
    claim: Claim, message: InboundMessage, ports: Ports, seconds: float
) -> Disposition:
    """Run the claim's turn under its lease, and publish what was committed."""
    try:
        record = await kept(claim, message, ports, _turn(claim, ports, seconds))
    except asyncio.CancelledError:
        # The host drains. The attempt does not count, and nobody has to wait for the lease.
        await asyncio.shield(
            ports.ledger.release(
                claim, "drained", "the worker was stopped", ports.clock.now(), counted=False
            )
        )
        raise
    return record if isinstance(record, Retry) else await _deliver(record, ports)


async def _turn(claim: Claim, ports: Ports, seconds: float) -> JobRecord | Retry:
    """Restore, run, and commit what came of it: a record that has ended, or another attempt."""
    limit = ports.policy.max_attempts
    if claim.attempts_used > limit:
        cut_off = GiveUp(
            "attempts_exhausted", f"the worker was cut off in each of {limit} attempts"
        )
        return await _settle(claim, cut_off, ports)
    try:
        return await _attempt(claim, ports, seconds)
    except StateDamagedError as exc:
        ports.journal.note("session_reset", job_id=claim.job.job_id, error=str(exc))
        fresh = reset_session(claim.plan, exc.reason, str(uuid.uuid4()))
        return await _attempt(replace(claim, plan=fresh), ports, seconds)
    except LeaseLostError:
        raise
    except UnavailableError as exc:
        code, error = f"{exc.system}_unavailable", str(exc)
    except Exception as exc:  # noqa: BLE001 - a defect must not lose a message or stop the host
        code, error = "internal_error", f"{type(exc).__name__} in the worker; see its log"
        ports.journal.failure("internal_error", exc, job_id=claim.job.job_id)
    return await _settle(
        claim, retry_or_give_up(code, error, claim.attempts_used, limit, _DICE), ports
    )


async def _attempt(claim: Claim, ports: Ports, seconds: float) -> JobRecord | Retry:
    spec = claim.job.spec
    async with ports.checkouts.open(claim) as checkout:
        ports.journal.note("restore", job_id=claim.job.job_id, session=claim.plan.status)
        turn = Turn(
            job_id=claim.job.job_id,
            session_key=claim.job.session_key,
            prompt=claim.job.request.user_message,
            spec=spec,
            plan=claim.plan,
            seconds=min(spec.timeout_seconds, seconds),
        )
        outcome = await ports.agent.run(turn, checkout)
        verdict = judge(outcome, claim.attempts_used, ports.policy.max_attempts, _DICE)
        ports.journal.note("run", job_id=claim.job.job_id, verdict=type(verdict).__name__)
        if isinstance(verdict, Conclude):
            return await _commit(claim, verdict, checkout, ports)
        return await _settle(claim, verdict, ports)


async def _commit(
    claim: Claim, conclusion: Conclude, checkout: Checkout, ports: Ports
) -> JobRecord:
    """The turn happened: its transcript first, then the one write that makes it so."""
    now = ports.clock.now()
    event = await _sized(claim, completed_event(claim, conclusion, now), ports)
    segments = await checkout.seal()
    commit = Commit(
        session_id=claim.plan.session_id,
        segments=segments,
        event=event,
        cost_usd=conclusion.result.cost_usd,
        num_turns=conclusion.result.num_turns,
    )
    return await ports.ledger.commit(claim, commit, now, ports.policy.session_ttl_seconds)


async def _sized(claim: Claim, event: JobCompletedEvent, ports: Ports) -> str:
    """The event as it travels: a response that is too large goes to the bucket first."""
    text = event.to_json()
    if not too_large(text):
        return text
    key = f"results/{claim.job.job_id}/{claim.generation}.txt"
    ref = await ports.results.store(key, event.data.response)
    return pointing(event, dict(ref)).to_json()


async def _settle(claim: Claim, verdict: Again | GiveUp, ports: Ports) -> JobRecord | Retry:
    """The turn did not happen: another attempt, or the end of the job."""
    now = ports.clock.now()
    match verdict:
        case Again(after, code, error):
            await ports.ledger.release(claim, code, error, now)
            return Retry(after, code)
        case GiveUp(code, error):
            event = failed_event(claim, code, error, now)
            return await ports.ledger.fail(claim, event, code, error, now)


async def _deliver(record: JobRecord, ports: Ports) -> Disposition:
    """Publish the event of a committed outcome, then say how the message ends."""
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


def _rejected(message: InboundMessage, rejection: Rejection, now: float) -> JobRecord:
    return JobRecord(
        job_id=rejection.job_id,
        session_key="",
        state=JobState.REJECTED,
        event=rejected_event(message, rejection, now),
        error_code=rejection.reason,
        error_message=rejection.error,
        created_at=now,
        updated_at=now,
    )
