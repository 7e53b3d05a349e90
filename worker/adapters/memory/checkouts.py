"""Session files and turn logs, in memory."""

import contextlib
import hashlib
import uuid
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

from worker.adapters.shelf import Shelf
from worker.adapters.spares import Spares
from worker.domain.claim import Claim
from worker.domain.errors import StateDamagedError
from worker.domain.policy import TurnSpec
from worker.domain.session import Segment, SessionPlan
from worker.domain.warm import CommittedState, Warmth, spare_for, startable, still_current
from worker.ports import Clock, Commit, Resident, Sealed

TOOL_LINE = "tool:"
"""How a line of an in-memory transcript tells a tool call."""


@dataclass(frozen=True)
class Recorded:
    """What a turn has done so far: its lines, and the files it changed (None: removed), in which
    session.
    """

    session_id: str = ""
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
    _sealed: int
    _base: dict[str, str]
    _segments: dict[str, list[str]]
    _files: dict[str, dict[str, str]]
    _log: dict[int, Recorded]
    _name: str
    _generation: int
    _version: int
    _now: float
    directory: Path = Path("/nonexistent")
    _resident: Resident | None = None
    _state: CommittedState | None = None

    async def record(self) -> None:
        delta = self.transcript[self._committed :]
        if delta:
            names = self._base.keys() | self.workspace.keys()
            files = {name: self.workspace.get(name) for name in names}
            changed = {n: f for n, f in files.items() if f != self._base.get(n)}
            self._log[self._generation] = Recorded(self.plan.session_id, delta, changed)

    async def seal(self, *, with_files: bool = True) -> Sealed:
        same = () if with_files else self.plan.files
        files = same or self._seal_files(self.workspace if with_files else self._base)
        return Sealed(self._seal_lines(), files)

    def _seal_lines(self) -> tuple[Segment, ...]:
        delta = self.transcript[self._sealed :]
        if not delta:
            return self.plan.segments
        self._segments.setdefault(self._name, list(delta))
        return (*self.plan.segments, _segment(self._name, delta, self._now))

    def _seal_files(self, files: dict[str, str]) -> tuple[Segment, ...]:
        if not files:
            return ()
        self._files.setdefault(self._name, dict(files))
        return (_segment(self._name, list(files.values()), self._now),)

    @property
    def warm(self) -> bool:
        return self._resident is not None

    def found(self) -> Resident | None:
        resident, self._resident = self._resident, None
        return resident

    def leave(self, resident: Resident) -> None:
        self._resident = resident

    def committed(self, commit: Commit) -> None:
        self._state = CommittedState(
            self._generation, self._version + 1, commit.session_id, commit.segments, commit.files
        )

    def kept(self) -> "Kept | None":
        """What the chat's next turn may find."""
        if self._state is None or self._resident is None:
            return None
        return Kept(self._state, self._resident, list(self.transcript), dict(self.workspace))

    async def end(self) -> None:
        if self._resident is not None:
            await self._resident.end()


@dataclass(frozen=True)
class Kept:
    """A chat as its last turn has left it: what its process knows, whatever is stored by now."""

    state: CommittedState
    resident: Resident
    lines: list[str]
    workspace: dict[str, str]

    @property
    def memory(self) -> int:
        return self.resident.memory

    async def close(self) -> None:
        await self.resident.end()


@dataclass(frozen=True)
class Spare:
    """A process that has served nobody, and the session that it was started with."""

    session_id: str
    resident: Resident

    @property
    def memory(self) -> int:
        return self.resident.memory

    async def close(self) -> None:
        await self.resident.end()


def _segment(name: str, lines: list[str], now: float) -> Segment:
    return Segment(name, sum(map(len, lines)), _digest(lines), now)


def _digest(lines: list[str]) -> str:
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


class MemoryCheckouts:
    """Segments in a dictionary; `segments` may be damaged by a test. With `start`, one process
    waits for a new chat.
    """

    def __init__(
        self,
        clock: Clock,
        warmth: Warmth | None = None,
        start: Callable[[TurnSpec], Resident] | None = None,
    ) -> None:
        self._clock = clock
        self._warmth = warmth or Warmth()
        self._shelf: Shelf[Kept] = Shelf(self._warmth, clock)
        self.failures: list[Exception] = []
        self._start = start
        self._spares = Spares(
            0 if start is None else 1,
            self._spare,
            self._warmth.idle_seconds,
            clock,
            self.failures.append,
            self._shelf.reserve,
        )
        self.segments: dict[str, list[str]] = {}
        self.files: dict[str, dict[str, str]] = {}
        self.logs: dict[tuple[str, str], dict[int, Recorded]] = {}

    def of_another_process(
        self, start: Callable[[TurnSpec], Resident] | None = None
    ) -> "MemoryCheckouts":
        """The same bucket, seen by a worker that has kept nothing."""
        other = MemoryCheckouts(self._clock, self._warmth, start)
        other.segments, other.files, other.logs = self.segments, self.files, self.logs
        return other

    @contextlib.asynccontextmanager
    async def open(self, claim: Claim) -> AsyncIterator[MemoryCheckout]:
        chat = claim.job.session_key
        kept = await self._shelf.take(chat, lambda kept: still_current(kept.state, claim))
        spec = spare_for(claim)
        spare = None if kept or spec is None else self._spares.take(spec)
        if spare is not None:
            checkout = self._begun(claim, spare)
        else:
            checkout = self._restored(claim) if kept is None else self._resumed(claim, kept)
        try:
            yield checkout
        except BaseException:
            await checkout.end()
            raise
        left = checkout.kept()
        if left is None:
            await checkout.end()
        else:
            self._shelf.put(chat, left)

    def expect(self, spec: TurnSpec) -> None:
        self._spares.expect(startable(spec))

    @property
    def spares(self) -> int:
        """How many processes wait for a new chat."""
        return len(self._spares)

    async def close(self) -> None:
        await self._spares.close()
        await self._shelf.clear()

    async def _spare(self, spec: TurnSpec) -> Spare:
        assert self._start is not None  # noqa: S101 - or there are none
        return Spare(str(uuid.uuid4()), self._start(spec))

    def _begun(self, claim: Claim, spare: Spare) -> MemoryCheckout:
        claim = _in_session(claim, spare.session_id)
        checkout = self._checkout(claim, [], {}, self._log(claim))
        checkout.leave(spare.resident)
        return checkout

    def _resumed(self, claim: Claim, kept: Kept) -> MemoryCheckout:
        log = self._log(claim)
        checkout = self._checkout(claim, list(kept.lines), dict(kept.workspace), log)
        checkout.leave(kept.resident)
        return checkout

    def _restored(self, claim: Claim) -> MemoryCheckout:
        lines: list[str] = []
        for segment in claim.plan.segments:
            stored = self.segments.get(segment.key)
            if stored is None:
                raise StateDamagedError("missing", segment.key)
            if _digest(stored) != segment.sha256:
                raise StateDamagedError("corrupt", segment.key)
            lines += stored
        workspace = dict(self.files[claim.plan.files[-1].key]) if claim.plan.files else {}
        log = self._log(claim)
        recorded = log[max(log)] if log else Recorded()
        if claim.plan.status == "new" and recorded.session_id:
            claim = _in_session(claim, recorded.session_id)
        checkout = self._checkout(claim, lines, workspace, log)
        if any(line.startswith(TOOL_LINE) for line in recorded.lines):
            checkout.cut_off = True
            checkout.transcript += recorded.lines
            changed = workspace | recorded.files
            checkout.workspace = {n: f for n, f in changed.items() if f is not None}
        if claim.attempt > 1:  # what an earlier generation records from now on does not count
            log[claim.generation] = replace(recorded, session_id=claim.plan.session_id)
        return checkout

    def _log(self, claim: Claim) -> dict[int, Recorded]:
        return self.logs.setdefault((claim.job.job_id, claim.job.request.user_message), {})

    def _checkout(
        self, claim: Claim, lines: list[str], workspace: dict[str, str], log: dict[int, Recorded]
    ) -> MemoryCheckout:
        forked = claim.plan.source_id is not None  # nothing of it is stored for this chat yet
        return MemoryCheckout(
            plan=replace(claim.plan, segments=(), files=()) if forked else claim.plan,
            transcript=lines,
            workspace=workspace,
            cut_off=False,
            _committed=len(lines),
            _sealed=0 if forked else len(lines),
            _base=dict(workspace),
            _segments=self.segments,
            _files=self.files,
            _log=log,
            _name=f"{claim.job.session_key}/{claim.plan.session_id}/{claim.generation}",
            _generation=claim.generation,
            _version=claim.head.version,
            _now=self._clock.now(),
        )


def _in_session(claim: Claim, session_id: str) -> Claim:
    return replace(claim, plan=replace(claim.plan, session_id=session_id))
