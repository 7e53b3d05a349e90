"""A job as an operator reads it: what its row says, and what happened to it, in order."""

from dataclasses import dataclass

from contracts.control import CancelRequest
from worker.domain.job import JobRecord, JobState


@dataclass(frozen=True, slots=True)
class Note:
    """What an operator did to a dead letter of the job: edited, replayed, discarded, restored,
    archived or imported it.
    """

    at: float
    what: str
    by: str
    letter: str
    detail: str = ""


@dataclass(frozen=True, slots=True)
class JobDetails:
    """A job's row, with what only people ask for. Times are epoch seconds.

    `outcome` is completed, failed, rejected or cancelled, and None while the job runs; `cost_usd`
    is what all its attempts have cost so far. A message that could not be read has no chat.
    """

    record: JobRecord
    tenant_id: str | None = None
    chat_id: str | None = None
    thread_id: str | None = None
    session_id: str | None = None
    outcome: str | None = None
    ended_at: float | None = None
    cost_usd: float = 0.0
    num_turns: int = 0
    owner: str | None = None
    notes: tuple[Note, ...] = ()
    cancel: CancelRequest | None = None
    """The wish that it be cancelled, as long as its row is kept."""

    @property
    def job_id(self) -> str:
        return self.record.job_id

    @property
    def chat(self) -> str:
        """The chat's key, "tenant/chat:thread"; empty for a message that could not be read."""
        return self.record.session_key

    @property
    def dead_letter(self) -> bool:
        """Whether the job's message ended in the dead-letter queue."""
        return self.record.state in {JobState.FAILED, JobState.REJECTED}

    @property
    def changed_at(self) -> float:
        return self.ended_at or self.record.updated_at


@dataclass(frozen=True, slots=True)
class Moment:
    """Something that happened to a job: `at` in epoch seconds; `error` is a code or None."""

    at: float
    what: str
    text: str = ""
    error: str | None = None


_PAUSES = {
    "sliced": "slice ended",
    "drained": "worker stopped",
    "cut_off": "worker cut off",
    "cancelled": "cancelled",
}
_NO_ERRORS = frozenset({"sliced", "drained", "cancelled"})


def timeline(job: JobDetails) -> tuple[Moment, ...]:
    """What is known of a job, in order: the row keeps the last ends of attempts, not all."""
    record = job.record
    if record.state is JobState.REJECTED:
        moments = [Moment(record.created_at, "rejected", record.error_message or "", _code(record))]
    else:
        moments = [Moment(record.created_at, "first taken from the queue"), *_attempts(job)]
    if job.outcome is not None and job.ended_at is not None and not moments[-1].error:
        text = f"{record.error_code}: {record.error_message}" if record.error_code else ""
        words = {"completed": "answered: turn and result committed"}
        moments.append(Moment(job.ended_at, words.get(job.outcome, job.outcome), text))
    if record.published_at is not None:
        moments.append(Moment(record.published_at, "event published"))
        if job.dead_letter:
            moments.append(Moment(record.published_at, "message moved to the dead-letter queue"))
    aside = [*map(_noted, job.notes), *map(_wished, filter(None, [job.cancel]))]
    return tuple(sorted([*moments, *aside], key=lambda moment: moment.at) if aside else moments)


def _noted(note: Note) -> Moment:
    return Moment(note.at, f"letter {note.letter[:8]} {note.what} by {note.by}", note.detail)


def _wished(cancel: CancelRequest) -> Moment:
    by = f" by {cancel.requested_by}" if cancel.requested_by else ""
    return Moment(cancel.requested_at, f"cancellation asked for{by}")


def _attempts(job: JobDetails) -> list[Moment]:
    record = job.record
    moments: list[Moment] = []
    if record.history and record.history[0].attempt > 1:
        first = record.history[0]
        moments.append(
            Moment(first.began_at, f"{first.attempt - 1} earlier attempts are no longer recorded")
        )
    for end in record.history:
        moments.append(Moment(end.began_at, f"attempt {end.attempt} began"))
        what = _PAUSES.get(end.code, "failed")
        error = None if end.code in _NO_ERRORS else end.code
        moments.append(Moment(end.ended_at, f"attempt {end.attempt}: {what}", end.message, error))
    recorded = record.history[-1].attempt if record.history else 0
    if record.attempt > recorded and record.claimed_at:
        owner = f"by {job.owner}" if job.owner and record.state is JobState.RUNNING else ""
        moments.append(Moment(record.claimed_at, f"attempt {record.attempt} began", owner))
    return moments


def _code(record: JobRecord) -> str:
    return record.error_code or record.state.value
