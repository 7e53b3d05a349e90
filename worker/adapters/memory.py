"""An in-memory twin of every port, for tests of the story and for trying a policy out.

They keep the contracts of ports.py: the conformance suite runs over them and over the adapters of
the real systems alike. Nothing here sleeps: `ManualClock` moves when it is told to.
"""

import asyncio
import contextlib
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from worker.domain.claim import Claim, ClaimResult, Run, decide_claim
from worker.domain.disposition import DeadLetter
from worker.domain.errors import LeaseLostError, StateDamagedError
from worker.domain.job import Job, JobRecord, JobState, Spent
from worker.domain.message import InboundMessage
from worker.domain.session import Lease, Segment, SessionHead, SessionPlan, plan_session
from worker.domain.turn import AgentOutcome
from worker.ports import Checkout, Commit, Pause, Sealed, Turn


class ManualClock:
    """Time that moves only by `advance`; sleepers wake when their time has come."""

    def __init__(self, start: float = 1_800_000_000.0) -> None:
        self._now = start
        self._sleepers: list[tuple[float, asyncio.Event]] = []

    def now(self) -> float:
        return self._now

    async def sleep(self, seconds: float) -> None:
        woken = asyncio.Event()
        self._sleepers.append((self._now + seconds, woken))
        await woken.wait()

    def advance(self, seconds: float) -> None:
        self._now += seconds
        for due, woken in self._sleepers:
            if due <= self._now:
                woken.set()
        self._sleepers = [(due, woken) for due, woken in self._sleepers if due > self._now]


@dataclass
class _Queued:
    message: InboundMessage
    visible_at: float = 0.0
    receives: int = 0


class MemoryInbox:
    """An SQS FIFO queue with its dead-letter queue: one message of a group in flight at a time."""

    def __init__(self, clock: ManualClock) -> None:
        self._clock = clock
        self._queue: list[_Queued] = []
        self.dead_letters: list[tuple[InboundMessage, DeadLetter]] = []

    def send(self, message: InboundMessage) -> None:
        self._queue.append(_Queued(message))

    def receive(self, lease_seconds: float) -> InboundMessage | None:
        locked: set[str] = set()
        for queued in self._queue:
            if queued.message.group_id in locked:
                continue
            locked.add(queued.message.group_id)
            if queued.visible_at <= self._clock.now():
                queued.visible_at = self._clock.now() + lease_seconds
                queued.receives += 1
                return replace(queued.message, receive_count=queued.receives)
        return None

    @property
    def waiting(self) -> list[str]:
        return [queued.message.message_id for queued in self._queue]

    async def extend(self, message: InboundMessage, seconds: float) -> None:
        for queued in self._queue:
            if queued.message.message_id == message.message_id:
                queued.visible_at = self._clock.now() + seconds

    async def delete(self, message: InboundMessage) -> None:
        self._queue = [q for q in self._queue if q.message.message_id != message.message_id]

    async def quarantine(self, message: InboundMessage, letter: DeadLetter) -> None:
        mark = (message.message_id, letter.attempt)
        if mark not in {(m.message_id, dead.attempt) for m, dead in self.dead_letters}:
            self.dead_letters.append((message, letter))


class MemoryLedger:
    """Both tables as dictionaries; each method is one step, as one transaction is."""

    def __init__(self) -> None:
        self.jobs: dict[str, JobRecord] = {}
        self.heads: dict[str, SessionHead] = {}

    async def claim(self, job: Job, owner: str, now: float, lease_seconds: float) -> ClaimResult:
        record = self.jobs.get(job.job_id)
        head = self.heads.get(job.session_key, SessionHead(job.session_key))
        standing = decide_claim(job, record, head, now)
        if not isinstance(standing, Run):
            return standing
        created_at = record.created_at if record else now
        slices, spent = (record.slices, record.spent) if record else (0, Spent())
        self.jobs[job.job_id] = JobRecord(
            job_id=job.job_id,
            session_key=job.session_key,
            state=JobState.RUNNING,
            attempt=standing.attempt,
            first_attempt=standing.first_attempt,
            generation=standing.generation,
            slices=slices,
            spent=spent,
            created_at=created_at,
            updated_at=now,
        )
        self.heads[job.session_key] = replace(
            head,
            generation=standing.generation,
            lease=Lease(owner, job.job_id, now + lease_seconds),
        )
        return Claim(
            job=job,
            owner=owner,
            attempt=standing.attempt,
            first_attempt=standing.first_attempt,
            generation=standing.generation,
            takeover=standing.takeover,
            head=head,
            plan=plan_session(head, job.job_id, job.request.session, now),
            created_at=created_at,
            slices=slices,
            spent=spent,
        )

    async def extend(self, claim: Claim, lease_expires_at: float) -> None:
        head = self._fenced(claim)
        if head.lease is None:
            raise LeaseLostError(claim.job.session_key, claim.generation)
        self.heads[head.session_key] = replace(
            head, lease=replace(head.lease, expires_at=lease_expires_at)
        )

    async def commit(
        self, claim: Claim, commit: Commit, now: float, session_ttl_seconds: float
    ) -> JobRecord:
        head = self._fenced(claim, JobState.ANSWERED)
        record = self.jobs[claim.job.job_id]
        if record.state is JobState.ANSWERED:
            return record
        self.heads[head.session_key] = replace(
            head,
            session_id=commit.session_id,
            segments=commit.segments,
            files=commit.files,
            version=head.version + 1,
            turns=head.turns + 1,
            cost_usd=head.cost_usd + commit.cost_usd,
            expires_at=now + session_ttl_seconds,
            lease=None,
        )
        return self._end(record, now, state=JobState.ANSWERED, event=commit.event)

    async def release(self, claim: Claim, pause: Pause, now: float) -> None:
        head = self._fenced(claim)
        self.heads[head.session_key] = replace(head, lease=None)
        self._end(
            self.jobs[claim.job.job_id],
            now,
            error_code=pause.code,
            error_message=pause.message,
            first_attempt=claim.first_attempt + (0 if pause.counted else 1),
            slices=pause.slices,
            spent=pause.spent,
        )

    async def fail(
        self, claim: Claim, event: str, code: str, message: str, now: float
    ) -> JobRecord:
        head = self._fenced(claim, JobState.FAILED)
        self.heads[head.session_key] = replace(head, lease=None)
        return self._end(
            self.jobs[claim.job.job_id],
            now,
            state=JobState.FAILED,
            event=event,
            error_code=code,
            error_message=message,
        )

    async def reject(self, record: JobRecord) -> JobRecord:
        return self.jobs.setdefault(record.job_id, record)

    async def mark_published(self, record: JobRecord, now: float) -> None:
        current = self.jobs[record.job_id]
        if (current.state, current.attempt) != (record.state, record.attempt):
            return
        state = JobState.PUBLISHED if current.state is JobState.ANSWERED else current.state
        self._end(current, now, state=state, published_at=now)

    async def get(self, job_id: str) -> JobRecord | None:
        return self.jobs.get(job_id)

    async def unfinished(self, state: str, before: float, limit: int) -> list[JobRecord]:
        found = [
            record
            for record in self.jobs.values()
            if record.updated_at < before
            and (record.state is JobState.RUNNING) == (state == "running")
            and record.published_at is None
        ]
        return sorted(found, key=lambda record: record.updated_at)[:limit]

    def _fenced(self, claim: Claim, repeated: JobState | None = None) -> SessionHead:
        head = self.heads[claim.job.session_key]
        record = self.jobs[claim.job.job_id]
        if head.generation != claim.generation or record.generation != claim.generation:
            raise LeaseLostError(claim.job.session_key, claim.generation)
        if record.state is not JobState.RUNNING and record.state is not repeated:
            raise LeaseLostError(claim.job.session_key, claim.generation)
        return head

    def _end(self, record: JobRecord, now: float, **changes: object) -> JobRecord:
        ended = replace(record, updated_at=now, **changes)  # type: ignore[arg-type] # field names
        self.jobs[record.job_id] = ended
        return ended


TOOL_LINE = "tool:"
"""How a line of an in-memory transcript tells a tool call."""


@dataclass(frozen=True)
class Recorded:
    """What a turn has done so far: its lines, and the files it changed (None: removed)."""

    lines: list[str] = field(default_factory=list)
    files: dict[str, str | None] = field(default_factory=dict)


@dataclass
class MemoryCheckout:
    """A checkout whose transcript is a list of lines, and whose files are a dictionary."""

    plan: SessionPlan
    transcript: list[str]
    workspace: dict[str, str]
    cut_off: bool
    _committed: int
    _base: dict[str, str]
    _segments: dict[str, list[str]]
    _files: dict[str, dict[str, str]]
    _log: dict[int, Recorded]
    _name: str
    _generation: int
    _now: float
    directory: Path = Path("/nonexistent")

    async def record(self) -> None:
        delta = self.transcript[self._committed :]
        if delta:
            names = self._base.keys() | self.workspace.keys()
            files = {name: self.workspace.get(name) for name in names}
            changed = {n: f for n, f in files.items() if f != self._base.get(n)}
            self._log[self._generation] = Recorded(delta, changed)

    async def seal(self, *, with_files: bool = True) -> Sealed:
        return Sealed(self._seal_lines(), self._seal_files() if with_files else self.plan.files)

    def _seal_lines(self) -> tuple[Segment, ...]:
        delta = self.transcript[self._committed :]
        if not delta:
            return self.plan.segments
        self._segments.setdefault(self._name, list(delta))
        return (*self.plan.segments, _segment(self._name, delta, self._now))

    def _seal_files(self) -> tuple[Segment, ...]:
        if not self.workspace:
            return ()
        self._files.setdefault(self._name, dict(self.workspace))
        return (_segment(self._name, list(self.workspace.values()), self._now),)


def _segment(name: str, lines: list[str], now: float) -> Segment:
    return Segment(name, sum(map(len, lines)), _digest(lines), now)


def _digest(lines: list[str]) -> str:
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


class MemoryCheckouts:
    """Segments in a dictionary; `segments` may be damaged by a test."""

    def __init__(self, clock: ManualClock) -> None:
        self._clock = clock
        self.segments: dict[str, list[str]] = {}
        self.files: dict[str, dict[str, str]] = {}
        self.logs: dict[tuple[str, str], dict[int, Recorded]] = {}

    @contextlib.asynccontextmanager
    async def open(self, claim: Claim) -> AsyncIterator[MemoryCheckout]:
        lines: list[str] = []
        for segment in claim.plan.segments:
            stored = self.segments.get(segment.key)
            if stored is None:
                raise StateDamagedError("missing", segment.key)
            if _digest(stored) != segment.sha256:
                raise StateDamagedError("corrupt", segment.key)
            lines += stored
        workspace = dict(self.files[claim.plan.files[-1].key]) if claim.plan.files else {}
        committed = len(lines)
        log = self.logs.setdefault((claim.job.job_id, claim.job.request.user_message), {})
        recorded = log[max(log)] if log else Recorded()
        cut_off = any(line.startswith(TOOL_LINE) for line in recorded.lines)
        base = dict(workspace)
        if cut_off:
            lines += recorded.lines
            workspace = {n: f for n, f in (base | recorded.files).items() if f is not None}
        if claim.attempt > 1:  # what an earlier generation records from now on does not count
            log[claim.generation] = recorded
        yield MemoryCheckout(
            plan=claim.plan,
            transcript=lines,
            workspace=workspace,
            cut_off=cut_off,
            _committed=committed,
            _base=base,
            _segments=self.segments,
            _files=self.files,
            _log=log,
            _name=f"{claim.job.session_key}/{claim.plan.session_id}/{claim.generation}",
            _generation=claim.generation,
            _now=self._clock.now(),
        )


Script = Callable[[Turn, Checkout], Awaitable[AgentOutcome]]


class MemoryAgent:
    """An agent whose turns are a function of the test's; `turns` is what it was asked."""

    def __init__(self, script: Script) -> None:
        self.script = script
        self.turns: list[Turn] = []

    async def run(self, turn: Turn, checkout: Checkout) -> AgentOutcome:
        self.turns.append(turn)
        return await self.script(turn, checkout)


class MemoryResults:
    """Large results in a dictionary."""

    def __init__(self) -> None:
        self.texts: dict[str, str] = {}

    async def store(self, key: str, text: str) -> Mapping[str, object]:
        self.texts[key] = text
        return {
            "bucket": "memory",
            "key": key,
            "size": len(text.encode()),
            "url": f"memory://{key}",
        }


@dataclass
class MemoryPublisher:
    """Published events in a list, in order."""

    events: list[str] = field(default_factory=list)

    async def publish(self, event: str) -> None:
        self.events.append(event)


@dataclass
class MemoryJournal:
    """Steps in a list."""

    steps: list[tuple[str, dict[str, object]]] = field(default_factory=list)

    def note(self, step: str, **fields: object) -> None:
        self.steps.append((step, fields))

    def failure(self, step: str, exc: BaseException, **fields: object) -> None:
        self.steps.append((step, {**fields, "error": repr(exc)}))
