"""What the pipeline needs of the outside world. Each port has an adapter for the real system and
an in-memory twin, and one conformance suite runs over both.
"""

from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from worker.domain.claim import Claim, ClaimResult
from worker.domain.disposition import DeadLetter
from worker.domain.job import Job, JobRecord
from worker.domain.message import InboundMessage
from worker.domain.policy import Policy, TurnSpec
from worker.domain.session import Segment, SessionPlan
from worker.domain.turn import AgentOutcome


class Clock(Protocol):
    """Time, so that tests own it."""

    def now(self) -> float:
        """Epoch seconds."""
        ...

    async def sleep(self, seconds: float) -> None: ...


class Inbox(Protocol):
    """The job queue and its dead-letter queue, for messages already received."""

    async def extend(self, message: InboundMessage, seconds: float) -> None:
        """The message stays (or becomes) invisible for so many seconds from now."""
        ...

    async def delete(self, message: InboundMessage) -> None: ...

    async def quarantine(self, message: InboundMessage, letter: DeadLetter) -> None:
        """Copy the message into the dead-letter queue, with its reason and without its auth token.
        The original is not deleted: send before delete. Repeats within five minutes are one.
        """
        ...


class Ledger(Protocol):
    """JOB_TABLE and SESSION_TABLE: claim, commit and fence.

    Every write that carries a claim is conditional on the claim's generation and raises
    LeaseLostError, with nothing written, when a newer one exists. An outage raises
    UnavailableError; then it is unknown whether the write happened, and repeating is safe.
    """

    async def claim(self, job: Job, owner: str, now: float, lease_seconds: float) -> ClaimResult:
        """Read the job and the chat, decide (`decide_claim`), and write the claim if it is ours."""
        ...

    async def extend(self, claim: Claim, lease_expires_at: float) -> None:
        """Renew the lease."""
        ...

    async def commit(
        self, claim: Claim, commit: "Commit", now: float, session_ttl_seconds: float
    ) -> JobRecord:
        """The one commit point: session head and job → answered, in one transaction."""
        ...

    async def release(
        self, claim: Claim, code: str, message: str, now: float, *, counted: bool = True
    ) -> None:
        """End the lease after a failed attempt; the job stays running, with its last error.
        An attempt that is not `counted` (a drain) leaves as many as before.
        """
        ...

    async def fail(
        self, claim: Claim, event: str, code: str, message: str, now: float
    ) -> JobRecord:
        """End the lease and the job: → failed, in one transaction. The session is unchanged."""
        ...

    async def reject(self, record: JobRecord) -> JobRecord:
        """Record a rejection unless the job id is known; returns what the table holds then."""
        ...

    async def mark_published(self, record: JobRecord, now: float) -> None:
        """The event was handed over: answered → published. Repeating changes nothing."""
        ...

    async def get(self, job_id: str) -> JobRecord | None: ...


@dataclass(frozen=True, slots=True)
class Commit:
    """What one turn changes: the session's new manifest, and the job's final event."""

    session_id: str
    segments: tuple[Segment, ...]
    event: str = field(repr=False)
    cost_usd: float
    num_turns: int


class Checkout(Protocol):
    """One chat's state on this machine, for one turn: its own directory, nobody else's."""

    plan: SessionPlan
    directory: Path

    @property
    def transcript(self) -> Any:  # noqa: ANN401 - the agent SDK's SessionStore; opaque to the story
        """Where the agent's transcript is mirrored; `seal` writes what arrived in it."""
        ...

    @property
    def transcript_path(self) -> Path:
        """The directory that the CLI keeps its transcripts in, restored."""
        ...

    async def seal(self) -> tuple[Segment, ...]:
        """Store the turn's new transcript as an immutable segment; returns the whole manifest.
        Nothing refers to it before the commit: a crash leaves garbage, not state.
        """
        ...


class Checkouts(Protocol):
    """Restores chats onto this machine."""

    def open(self, claim: Claim) -> AbstractAsyncContextManager[Checkout]:
        """Restore the claim's session into a directory that is removed at the end.
        Raises StateDamagedError (on entering) when a committed file is missing or corrupt.
        """
        ...


@dataclass(frozen=True, slots=True)
class Turn:
    """What the agent is asked to do."""

    job_id: str
    session_key: str
    prompt: str = field(repr=False)
    spec: TurnSpec
    plan: SessionPlan
    seconds: float
    """Time that the turn may take before it is interrupted."""


class Agent(Protocol):
    """Runs one turn. Failures are values (AgentFailure), not exceptions."""

    async def run(self, turn: Turn, checkout: Checkout) -> AgentOutcome: ...


class Results(Protocol):
    """Results that are too large to travel inside an event."""

    async def store(self, key: str, text: str) -> Mapping[str, object]:
        """Store the text; returns {bucket, key, size, url}: `url` is presigned, the rest lasts."""
        ...


class Publisher(Protocol):
    """Hands a final event over to SNS and EventBridge."""

    async def publish(self, event: str) -> None:
        """Raises UnavailableError unless both have it. Repeats carry the same event id."""
        ...


class Journal(Protocol):
    """One structured log line per step. Never message text, never a secret."""

    def note(self, step: str, **fields: object) -> None: ...

    def failure(self, step: str, exc: BaseException, **fields: object) -> None:
        """A defect: where it happened, without its text, which may quote a message."""
        ...


@dataclass(frozen=True, slots=True)
class Ports:
    """Everything the pipeline is given, once per process."""

    policy: Policy
    clock: Clock
    inbox: Inbox
    ledger: Ledger
    checkouts: Checkouts
    agent: Agent
    results: Results
    publisher: Publisher
    journal: Journal
    owner: str
    """This worker's name in leases and records."""
