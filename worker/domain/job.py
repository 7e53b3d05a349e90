"""A job: one message's turn, and its record in JOB_TABLE."""

from dataclasses import dataclass, field
from enum import StrEnum

from contracts import JobRequest, session_key
from worker.domain.history import AttemptEnd
from worker.domain.policy import TurnSpec


class JobState(StrEnum):
    """running → answered → published, or rejected | failed | cancelled."""

    RUNNING = "running"
    ANSWERED = "answered"
    PUBLISHED = "published"
    REJECTED = "rejected"
    FAILED = "failed"
    CANCELLED = "cancelled"


@dataclass(frozen=True, slots=True)
class Job:
    """A message that was parsed, authorized and found to be within the policy."""

    job_id: str
    session_key: str
    request: JobRequest = field(repr=False)
    spec: TurnSpec = field(repr=False)
    dead_letter_attempt: int | None = None

    @property
    def source_key(self) -> str | None:
        """The chat whose session this one's begins with; it can only be one of the same tenant."""
        source = self.request.fork_of
        if source is None:
            return None
        return session_key(source.chat_id, source.thread_id, self.request.tenant_id)


@dataclass(frozen=True, slots=True)
class Spent:
    """What a job has used: dollars, model calls, milliseconds. Slices and attempts add up."""

    cost_usd: float = 0.0
    num_turns: int = 0
    duration_ms: int = 0

    def plus(self, other: "Spent") -> "Spent":
        return Spent(
            self.cost_usd + other.cost_usd,
            self.num_turns + other.num_turns,
            self.duration_ms + other.duration_ms,
        )


@dataclass(frozen=True, slots=True)
class JobRecord:
    """The job's row. `event` is the final CloudEvent, exactly as it is published, once there is
    one; times are epoch seconds; `published_at` is None until the event was handed over.
    """

    job_id: str
    session_key: str
    state: JobState
    attempt: int = 0
    first_attempt: int = 1
    generation: int = 0
    slices: int = 0
    spent: Spent = Spent()
    event: str | None = field(default=None, repr=False)
    error_code: str | None = None
    error_message: str | None = None
    created_at: float = 0.0
    updated_at: float = 0.0
    published_at: float | None = None
    claimed_at: float = 0.0
    """When the last attempt began."""
    history: tuple[AttemptEnd, ...] = ()

    @property
    def attempts_used(self) -> int:
        """Attempts since the message was first sent, or last replayed from the DLQ."""
        return self.attempt - self.first_attempt + 1
