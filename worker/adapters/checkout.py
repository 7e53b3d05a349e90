"""One chat's state on this machine, for one turn: what the turn adds to it, and what is stored."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from worker.adapters.directories import local_copy, mark_kept
from worker.adapters.filetree import FileTree, Stamp, TooManyFilesError
from worker.adapters.kept import Kept, removed
from worker.adapters.objects import ObjectStore
from worker.adapters.spool import Spool, spooled
from worker.adapters.transcript import Transcript
from worker.adapters.turnlog import TurnLog
from worker.domain.claim import Claim
from worker.domain.errors import WorkspaceLimitError
from worker.domain.session import Segment, SessionPlan, merge_from
from worker.domain.warm import CommittedState
from worker.ports import Clock, Commit, Resident, Sealed

MAX_SEGMENTS = 3
"""Objects that a restore reads at most, of transcripts and of files each."""

REFRESH_SECONDS = 30 * 86400.0
"""A segment older than this is written anew with the next commit. The bucket's lifecycle counts
from an object's creation, so it must be longer than this and the session's TTL together."""


@dataclass
class S3Checkout:
    """One chat's state on this machine."""

    plan: SessionPlan
    directory: Path
    transcript: Transcript
    cut_off: bool
    _claim: Claim
    _tree: FileTree
    _log: TurnLog
    _store: ObjectStore
    _prefix: str
    _clock: Clock
    _resident: Resident | None = None
    _sealed_lines: int = 0
    _stamps: dict[str, Stamp] | None = None
    _state: CommittedState | None = None
    _copied: bool = True
    inherited: Mapping[str, Sequence[Path]] = field(default_factory=dict)
    """What a fork begins with, by kind, on the local disk: its first commit stores all of it."""

    async def record(self) -> None:
        await self._log.flush()

    async def taken_over(self) -> None:
        """What earlier attempts record from now on does not count."""
        await self._log.flush(taken_over=True)

    async def seal(self, *, with_files: bool = True) -> Sealed:
        lines, files = await asyncio.gather(
            self._seal_lines(), self._seal_files() if with_files else self._same_files()
        )
        return Sealed(lines, files)

    @property
    def warm(self) -> bool:
        return self._resident is not None

    def found(self) -> Resident | None:
        resident, self._resident = self._resident, None
        return resident

    def leave(self, resident: Resident) -> None:
        self._resident = resident

    def committed(self, commit: Commit) -> None:
        if self._stamps is None:
            return  # the workspace is not what was committed
        self._state = CommittedState(
            self._claim.generation,
            self._claim.head.version + 1,
            commit.session_id,
            commit.segments,
            commit.files,
        )

    def kept(self) -> Kept | None:
        """What the chat's next turn may find."""
        if self._state is None or self._resident is None or self._stamps is None:
            return None
        if not self._copied:
            return None
        self.transcript.rebase(
            [local_copy(self.directory, segment) for segment in self._state.segments],
            self._sealed_lines,
        )
        self._tree.mark(self._stamps)
        try:
            mark = mark_kept(self.directory)
        except OSError:  # the disk is full; the turn is no worse for it
            return None
        return Kept(
            self._state,
            self._resident,
            self.directory,
            mark,
            self.transcript,
            self._tree,
            self._store,
        )

    async def close(self) -> None:
        await removed(self._resident, self.directory, self._store)

    async def _seal_lines(self) -> tuple[Segment, ...]:
        self._sealed_lines = self.transcript.length
        with spooled(self.directory) as added:
            if await self._store.run(lambda: self.transcript.trimmed(added)):
                return await self._written("lines", (), added)
            await self._store.run(lambda: self.transcript.delta(added))
            if not added.size and not self.inherited:
                return self.plan.segments
            first = self._merged_from(self.plan.segments, added.size)
            return await self._merged("lines", self.plan.segments, first, added)

    async def _seal_files(self) -> tuple[Segment, ...]:
        committed = self.plan.files
        try:
            with spooled(self.directory) as added, spooled(self.directory) as whole:
                stamps = await self._store.run(lambda: self._tree.pack(added))
                first = self._merged_from(committed, added.size)
                if (added.size or self.inherited) and first == 0:
                    # All of it: what was overwritten in the meantime is left behind.
                    stamps = await self._store.run(lambda: self._tree.pack(whole, {}))
                self._stamps = stamps
                if not added.size and not self.inherited:
                    return committed
                if first > 0:
                    return await self._merged("files", committed, first, added)
                return await self._written("files", (), whole) if whole.size else ()
        except TooManyFilesError as exc:
            raise WorkspaceLimitError(str(exc)) from exc

    async def _same_files(self) -> tuple[Segment, ...]:
        """As they were before the turn."""
        if not self.inherited.get("files"):
            return self.plan.files
        with spooled(self.directory) as nothing:
            return await self._merged("files", (), 0, nothing)

    async def _merged(
        self, kind: str, committed: tuple[Segment, ...], first: int, added: Spool
    ) -> tuple[Segment, ...]:
        """Store what was added; in one object with the committed segments from `first` on."""
        copies = [local_copy(self.directory, segment) for segment in committed[first:]]
        copies += self.inherited.get(kind, ())
        if not copies:
            return await self._written(kind, committed, added)
        with spooled(self.directory) as merged:
            await self._store.run(lambda: merged.join(copies, added))
            return await self._written(kind, committed[:first], merged)

    async def _written(
        self, kind: str, kept: tuple[Segment, ...], data: Spool
    ) -> tuple[Segment, ...]:
        # One claim commits once, so its generation is a name that nobody else uses.
        key = f"{self._prefix}/{self.plan.session_id}/{self._claim.generation:08d}.{kind}.zst"
        segment = await self._store.seal(key, data, self._clock.now())
        if self._resident is not None:  # the next turn may merge it
            try:
                await self._store.run(lambda: data.copy_to(local_copy(self.directory, segment)))
            except OSError:  # the disk is full; the turn is no worse for it
                self._copied = False
        return (*kept, segment)

    def _merged_from(self, segments: Sequence[Segment], delta: int) -> int:
        now = self._clock.now()
        if any(segment.written_at + REFRESH_SECONDS < now for segment in segments):
            return 0
        return merge_from([segment.size for segment in segments], delta, MAX_SEGMENTS)
