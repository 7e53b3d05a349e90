"""A job: one message's turn, and its record in JOB_TABLE."""

from dataclasses import dataclass, field
from enum import StrEnum

from contracts import JobRequest
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
    event: str | None = field(default=None, repr=False)
    error_code: str | None = None
    error_message: str | None = None
    created_at: float = 0.0
    updated_at: float = 0.0
    published_at: float | None = None

    @property
    def attempts_used(self) -> int:
        """Attempts since the message was first sent, or last replayed from the DLQ."""
        return self.attempt - self.first_attempt + 1
