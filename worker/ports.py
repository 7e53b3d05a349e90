"""What the pipeline needs of the outside world. Each port has an adapter for the real system and
an in-memory twin, and one conformance suite runs over both.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from contracts import JobRequest
from contracts.control import CancelRequest
from worker.domain.claim import Claim, ClaimResult
from worker.domain.disposition import DeadLetter
from worker.domain.job import Job, JobRecord, JobState, Spent
from worker.domain.message import InboundMessage
from worker.domain.policy import AttachmentRules, Policy, TurnSpec
from worker.domain.progress import Step
from worker.domain.session import Segment, SessionPlan
from worker.domain.trace import Trace
from worker.domain.turn import AgentOutcome
from worker.domain.usage import Account, Exhausted, Granted


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
        """Read the job, its control record and the chat, decide (`decide_claim`), and write the
        claim if it is ours. A job that runs anew forgets that it was to be cancelled before.
        """
        ...

    async def extend(self, claim: Claim, lease_expires_at: float) -> None:
        """Renew the lease."""
        ...

    async def commit(
        self, claim: Claim, commit: "Commit", now: float, session_ttl_seconds: float
    ) -> JobRecord:
        """The one commit point: session head and job → answered (or cancelled), as one."""
        ...

    async def release(self, claim: Claim, pause: "Pause", now: float) -> None:
        """End the lease; the job stays running, with its last error and what it has spent."""
        ...

    async def fail(
        self, claim: Claim, event: str, code: str, message: str, now: float
    ) -> JobRecord:
        """End the lease and the job: → failed, in one transaction. The session is unchanged."""
        ...

    async def cancel(self, claim: Claim, event: str, message: str, now: float) -> JobRecord:
        """The same, → cancelled: nothing of the job is committed but that it was cancelled."""
        ...

    async def cancel_request(self, job_id: str, now: float) -> CancelRequest | None:
        """What the job's control record asks for, as of about a second ago."""
        ...

    async def reject(self, record: JobRecord) -> JobRecord:
        """Record a rejection unless the job id is known; returns what the table holds then."""
        ...

    async def mark_published(self, record: JobRecord, now: float) -> None:
        """The event was handed over: answered → published. Repeating changes nothing."""
        ...

    async def get(self, job_id: str) -> JobRecord | None: ...

    async def unfinished(self, state: str, before: float, limit: int) -> list[JobRecord]:
        """Jobs that are "running", or whose outcome waits to be published ("unpublished"), and
        have not changed since `before` (epoch seconds): the oldest first, `limit` at most.
        """
        ...


@dataclass(frozen=True, slots=True)
class Pause:
    """Why an attempt ended without an outcome. An attempt that is not `counted` (a drain, the end
    of a slice) leaves as many as before. `spent` and `slices` are the job's new totals.
    """

    code: str
    message: str
    spent: Spent
    slices: int
    counted: bool = True


@dataclass(frozen=True, slots=True)
class Commit:
    """What one turn changes: the session's new manifest, and the job's final event."""

    session_id: str
    segments: tuple[Segment, ...]
    files: tuple[Segment, ...]
    event: str = field(repr=False)
    cost_usd: float
    num_turns: int
    state: JobState = JobState.ANSWERED
    """Or CANCELLED, of a turn that was interrupted; then `error_message` says so."""
    error_message: str | None = None


@dataclass(frozen=True, slots=True)
class Sealed:
    """The manifest of a session after a turn: its transcript, and its files."""

    segments: tuple[Segment, ...]
    files: tuple[Segment, ...]


class Resident(Protocol):
    """The agent's process of one chat, left running for its next turn."""

    @property
    def memory(self) -> int:
        """Bytes that it takes."""
        ...

    async def end(self) -> None:
        """Nothing of it runs any more when this returns."""
        ...


class Checkout(Protocol):
    """One chat's state on this machine, for one turn: its own directory, nobody else's.

    `cut_off` says that it holds what an earlier attempt of the job has done, to be continued.
    It is kept for the chat's next turn, with its resident, when the turn was committed and left
    one; a checkout that nobody trusts any more ends the resident and removes the directory.
    """

    plan: SessionPlan
    """The claim's; a new session has the id that its process, or an earlier attempt, began it with.
    """
    directory: Path
    cut_off: bool

    @property
    def transcript(self) -> Any:  # noqa: ANN401 - the agent SDK's SessionStore; opaque to the story
        """Where the agent's transcript is mirrored; `seal` writes what arrived in it."""
        ...

    async def record(self) -> None:
        """Make durable what the turn has done so far, outside the commit: should it be cut off,
        the next attempt of the job continues from here. Raises UnavailableError.
        """
        ...

    async def seal(self, *, with_files: bool = True) -> Sealed:
        """Store what the turn has added as immutable segments; returns the whole manifest.
        Nothing refers to them before the commit: a crash leaves garbage, not state.
        Raises WorkspaceLimitError; then the files of the last commit can be kept instead.
        """
        ...

    @property
    def warm(self) -> bool:
        """Whether a process waits here that is still to be found: the one that the chat's last
        turn has left, or one that has served nobody.
        """
        ...

    def found(self) -> Resident | None:
        """The process that waits here, once; the caller's from now on."""
        ...

    def leave(self, resident: Resident) -> None:
        """For the chat's next turn, if it comes soon and here, and nothing happens in between."""
        ...

    def committed(self, commit: Commit) -> None:
        """What was sealed is the chat's state now."""
        ...


class Checkouts(Protocol):
    """Restores chats onto this machine."""

    def open(self, claim: Claim) -> AbstractAsyncContextManager[Checkout]:
        """The claim's session in a directory of its own: as the chat's last turn has left it here,
        if that is certainly its committed state (`still_current`), otherwise restored.
        Raises StateDamagedError (on entering) when a committed file is missing or corrupt.
        """
        ...

    def expect(self, spec: TurnSpec) -> None:
        """The next new chat's turn is probably such a one: a process may wait for it."""
        ...

    async def close(self) -> None:
        """Keep nothing any more."""
        ...


@dataclass(frozen=True, slots=True)
class Turn:
    """What the agent is asked to do."""

    job_id: str
    session_key: str
    prompt: str = field(repr=False)
    spec: TurnSpec
    session_id: str
    resume: bool
    """Whether the checkout holds a transcript of this session."""
    seconds: float
    """Time that the turn may take before it is interrupted."""
    fence: Callable[[], Awaitable[None]]
    """To be awaited before anything that cannot be undone: raises LeaseLostError when another
    worker may have taken the chat over, UnavailableError when that cannot be known."""
    cancelled: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when the turn is to be interrupted because its job is cancelled."""
    report: Callable[[Step], None] | None = None
    """Takes what is to be told while the turn runs, and returns at once; None: nothing is."""
    traceparent: str | None = None
    """The span of the turn, to be sent with its model calls; None when nobody follows it."""
    attachments: tuple[dict[str, Any], ...] = field(default=(), repr=False)
    """Content blocks that go before the prompt."""


class Agent(Protocol):
    """Runs one turn. Failures are values (AgentFailure), not exceptions."""

    async def run(self, turn: Turn, checkout: Checkout) -> AgentOutcome: ...


class Results(Protocol):
    """Results that are too large to travel inside an event."""

    async def store(self, key: str, text: str) -> Mapping[str, object]:
        """Store the text; returns {bucket, key, size, url}: `url` is presigned, the rest lasts."""
        ...


class Usage(Protocol):
    """Counters of what chats and tenants use up (domain/usage.py), exact under parallel jobs.

    A reservation is a job's: repeating it finds the same one, however many attempts there are. One
    that nobody settles (its job was lost for good) ends at its `until`.
    """

    async def reserve(
        self, accounts: Sequence[Account], job_id: str, amount: int, now: float, until: float
    ) -> Granted | Exhausted:
        """Set `amount` aside in every account, or as much as is left in the fullest. When nothing
        is left in one, nothing is kept in any. Raises UnavailableError; repeating is safe.
        """
        ...

    async def settle(self, accounts: Sequence[Account], job_id: str, amount: int) -> None:
        """Replace the job's reservation by what it used, once; without one nothing is counted."""
        ...

    async def count(self, accounts: Sequence[Account]) -> Account | None:
        """Count one in every account; the first that is full, if one is. What was counted before
        that one stays counted.
        """
        ...


class Attachments(Protocol):
    """The files that a message brings."""

    async def load(self, request: JobRequest, rules: AttachmentRules) -> tuple[dict[str, Any], ...]:
        """As content blocks of the Messages API, in their order. Raises RefusedOptionError for one
        that is not allowed, not there, or not what it seems; UnavailableError.
        """
        ...


class Rules(Protocol):
    """The policy as it is now: keys and tenants' policies may change while the worker runs."""

    async def current(self) -> Policy:
        """Never raises: what cannot be read anew is as it was."""
        ...


class Publisher(Protocol):
    """Hands events over to SNS and EventBridge."""

    async def publish(self, event: str) -> None:
        """A final event. Raises UnavailableError unless both have it. Repeats carry the same id."""
        ...

    async def tell(self, events: Sequence[str]) -> None:
        """Up to ten events of a running turn, in order; not insisted on. Raises UnavailableError
        when some did not arrive everywhere.
        """
        ...


class Journal(Protocol):
    """One structured log line per step. Never message text, never a secret."""

    def begin(
        self, trace: Trace | None = None, sent_at: float | None = None, **fields: object
    ) -> None:
        """A new piece of work: the lines of this task, and of those that it starts from now on,
        carry these fields and belong to this span, which began at `sent_at` (Unix seconds).
        """
        ...

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
    usage: Usage
    rules: Rules
    attachments: Attachments
    results: Results
    publisher: Publisher
    journal: Journal
    owner: str
    """This worker's name in leases and records."""
