"""What the workbench needs of the outside world. Each port has a twin in memory, and one
conformance suite runs over both.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from worker.domain.job import JobRecord
from worker.ports import Clock
from worker.replay.case import ChatView
from worker.replay.letter import Letter
from worker.replay.plan import Outgoing


@dataclass(frozen=True, slots=True)
class Reading:
    """All letters that could be seen. `unseen` are in the queue, and SQS does not show them:
    `behind` others of their own message group, or `elsewhere`, in another reader's hands.
    """

    letters: tuple[Letter, ...]
    behind: int = 0
    elsewhere: int = 0


class DeadLetters(Protocol):
    """The dead-letter queue, and the job queue to send to.

    Errors: UnavailableError where an outage leaves it unknown whether it was done; every method
    may be repeated.
    """

    async def read(self, hold_seconds: float) -> Reading:
        """Every letter once. They stay hidden from other readers until `hold` ends that, or for so
        many seconds at most. Nothing is moved, deleted or sent.
        """
        ...

    async def hold(self, letters: Sequence[Letter], seconds: float) -> None:
        """Hide letters that were read for so many seconds from now; 0 shows them again at once."""
        ...

    async def delete(self, letter: Letter) -> bool:
        """Remove a letter that is held; False when it is not held any more, and stays."""
        ...

    async def put(self, letter: Letter, mark: str) -> None:
        """Put a copy of a letter into the dead-letter queue. Repeats with the same `mark` within
        five minutes are one.
        """
        ...

    async def send(self, message: Outgoing) -> str:
        """Put a message on the job queue, authorized; returns its message id. Repeats with the same
        deduplication id within five minutes are one.
        """
        ...


class Rows(Protocol):
    """JOB_TABLE and SESSION_TABLE, as the workbench reads them, and what it notes there."""

    async def jobs(self, job_ids: Iterable[str]) -> dict[str, JobRecord]:
        """The records that there are, by job id."""
        ...

    async def chats(self, session_keys: Iterable[str], now: float) -> dict[str, ChatView]:
        """The chats that there are, by session key, as of `now` (epoch seconds)."""
        ...

    async def note(self, job_id: str, note: Mapping[str, Any]) -> None:
        """Add to the notes of a job, if it has a record: what operators did to its letters."""
        ...

    async def notes(self, job_id: str) -> list[dict[str, Any]]:
        """The notes of a job, in the order they were made."""
        ...


class Documents(Protocol):
    """JSON documents by key, "replays/r-1/plan" for example: plans, progress, archive, audit."""

    async def put(self, key: str, document: Mapping[str, Any]) -> None:
        """Write it, over what was there."""
        ...

    async def get(self, key: str) -> dict[str, Any] | None: ...

    async def keys(self, prefix: str) -> list[str]:
        """The keys that begin with `prefix`, sorted."""
        ...

    async def remove(self, key: str) -> None:
        """Remove it, if it is there."""
        ...


@dataclass(frozen=True, slots=True)
class Operator:
    """Who does it, and from where: for the audit."""

    name: str
    place: str


@dataclass(frozen=True, slots=True)
class DeskPorts:
    """Everything the workbench is given."""

    letters: DeadLetters
    rows: Rows
    documents: Documents
    clock: Clock
    operator: Operator
