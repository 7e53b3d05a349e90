"""Session files and turn logs, in memory."""

import contextlib
import hashlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

from worker.adapters.memory.clock import ManualClock
from worker.domain.claim import Claim
from worker.domain.errors import StateDamagedError
from worker.domain.session import Segment, SessionPlan
from worker.ports import Sealed

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
