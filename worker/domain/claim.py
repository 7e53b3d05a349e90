"""May this worker run this job now? Decided from what the tables hold.

The lease, over time (LEASE_SECONDS = 120, renewed by a heartbeat every third of it):

    claim                 renew      renew      (crash)              takeover
    generation 7 ──────────┼──────────┼───────────X                   generation 8 ────
    lease  ├───────────────┼──────────┼──────────────────────────┤    ├──────────────
    queue  ├── invisible ──┼──────────┼──────────────────────────┤ visible again

A worker that wakes up after its lease (a zombie) still holds generation 7: its commit carries the
condition `generation = 7` and changes nothing.
"""

from dataclasses import dataclass, field

from contracts.control import CancelRequest
from worker.domain.history import AttemptEnd, with_end
from worker.domain.job import Job, JobRecord, JobState, Spent
from worker.domain.session import SessionHead, SessionPlan, forkable, plan_session


@dataclass(frozen=True, slots=True)
class Run:
    """Claim it as this attempt and generation. `first_attempt` starts a new series of attempts
    after a replay from the DLQ; `takeover` says that an earlier run was cut off. With `cancel` the
    claim is to end the job; the agent does not run.
    """

    attempt: int
    first_attempt: int
    generation: int
    takeover: bool
    cancel: CancelRequest | None = None


@dataclass(frozen=True, slots=True)
class Busy:
    """A live lease is elsewhere: come back after so many seconds."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Deliver:
    """The outcome is committed and not yet handed over: publish it, run nothing."""

    record: JobRecord


@dataclass(frozen=True, slots=True)
class Finished:
    """The outcome was published: acknowledge."""

    record: JobRecord


@dataclass(frozen=True, slots=True)
class Conflict:
    """The job id belongs to another chat."""

    record: JobRecord


@dataclass(frozen=True, slots=True)
class NoSource:
    """The session that is to be forked is not there."""


@dataclass(frozen=True, slots=True)
class Claim:
    """A claim that was written: the right to commit one turn as this generation."""

    job: Job
    owner: str
    attempt: int
    first_attempt: int
    generation: int
    takeover: bool
    head: SessionHead
    plan: SessionPlan
    created_at: float
    slices: int = 0
    spent: Spent = field(default_factory=Spent)
    claimed_at: float = 0.0
    history: tuple[AttemptEnd, ...] = ()
    cancel: CancelRequest | None = None
    """Somebody asked, before this claim, for the job to be cancelled."""

    @property
    def attempts_used(self) -> int:
        return self.attempt - self.first_attempt + 1

    def ended(self, code: str, message: str, now: float) -> tuple[AttemptEnd, ...]:
        """The job's history, with this attempt's end."""
        end = AttemptEnd(self.attempt, self.claimed_at, now, code, message)
        return with_end(self.history, end)


Standing = Run | Busy | Deliver | Finished | Conflict | NoSource
ClaimResult = Claim | Busy | Deliver | Finished | Conflict | NoSource


def decide_claim(
    job: Job,
    record: JobRecord | None,
    head: SessionHead,
    now: float,
    cancel: CancelRequest | None = None,
    source: SessionHead | None = None,
) -> Standing:
    """What a delivery of `job` means, given its record, its chat's head, its control record, and
    the head of the chat that it forks.
    """
    # A rejected message may have had no readable chat: its record belongs to none.
    if record is not None and record.session_key not in {"", job.session_key}:
        return Conflict(record)
    if record is not None and record.state is not JobState.RUNNING and not _reopened(job, record):
        return Finished(record) if record.published_at is not None else Deliver(record)
    if head.lease is not None and head.lease.live(now):
        return Busy(head.lease.expires_at - now)
    fork, has_begun = job.request.fork_of, record and record.state is not JobState.REJECTED
    if fork and not has_begun and not forkable(source, fork.session_id, now):
        return NoSource()
    generation = head.generation + 1
    if record is None:
        return Run(1, 1, generation, takeover=False, cancel=cancel)
    # A replay begins a new series of attempts, whatever state the job was left in.
    replayed = job.dead_letter_attempt == record.attempt
    goes_on = record.state is JobState.RUNNING and not replayed
    return Run(
        attempt=record.attempt + 1,
        first_attempt=record.first_attempt if goes_on else record.attempt + 1,
        generation=generation,
        # A lease that was neither released nor renewed is what a crash leaves behind.
        takeover=head.lease is not None and head.lease.job_id == job.job_id,
        # What was asked of a job that had ended changed nothing, and is not meant for its replay.
        cancel=cancel if record.state is JobState.RUNNING else None,
    )


def claim_of(
    job: Job,
    owner: str,
    run: Run,
    record: JobRecord | None,
    head: SessionHead,
    now: float,
    source: SessionHead | None = None,
) -> Claim:
    """The claim to be written, from what `decide_claim` was given and has answered."""
    return Claim(
        job=job,
        owner=owner,
        attempt=run.attempt,
        first_attempt=run.first_attempt,
        generation=run.generation,
        takeover=run.takeover,
        head=head,
        plan=plan_session(head, job.job_id, job.request.session, now, source),
        created_at=record.created_at if record else now,
        slices=record.slices if record else 0,
        spent=record.spent if record else Spent(),
        claimed_at=now,
        history=_history(run, record, head),
        cancel=run.cancel,
    )


def _history(run: Run, record: JobRecord | None, head: SessionHead) -> tuple[AttemptEnd, ...]:
    """What is known of earlier attempts. One that was cut off could not say so itself."""
    if record is None:
        return ()
    if not run.takeover or head.lease is None:
        return record.history
    end = AttemptEnd(
        record.attempt,
        record.claimed_at,
        head.lease.expires_at,
        "cut_off",
        f"nothing was heard of {head.lease.owner} until its lease ran out",
    )
    return with_end(record.history, end)


def _reopened(job: Job, record: JobRecord) -> bool:
    """A rejected job has not run: a message of it that is good now, corrected or replayed, runs.

    A dead letter of a failed job that is replayed runs again, once: its attribute names the attempt
    that failed, so a second copy of the same dead letter finds a later attempt and is not run.
    """
    if record.state is JobState.REJECTED:
        return True
    return record.state is JobState.FAILED and job.dead_letter_attempt == record.attempt
