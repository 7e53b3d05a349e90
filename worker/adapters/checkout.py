"""Sessions in the bucket, restored into a directory of their own.

    <work_dir>/<chat>/          kept for the chat's next turn, or removed after this one
        workspace/              the agent's working directory
        home/  tmp/             its HOME and TMPDIR
        config/projects/<project>/<session>.jsonl      transcripts; large tool results beside them
        segments/  log/         what is stored in the bucket, as stored

The path of a chat is the same on every machine, because the model sees paths in its history.
"""

import asyncio
import contextlib
import fcntl
import hashlib
import os
import re
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from claude_agent_sdk import SessionKey

from worker.adapters.filetree import FileTree, Limits, Stamp, TooManyFilesError
from worker.adapters.objects import ObjectStore
from worker.adapters.owners import Owners
from worker.adapters.removal import remove_tree
from worker.adapters.segments import MalformedSegmentError, encode, restore
from worker.adapters.shelf import Shelf
from worker.adapters.transcript import Transcript
from worker.adapters.turnlog import Recorded, TurnLog, read_log
from worker.domain.claim import Claim
from worker.domain.errors import (
    StateDamagedError,
    UnavailableError,
    WorkerError,
    WorkspaceLimitError,
)
from worker.domain.session import Segment, SessionPlan, merge_from
from worker.domain.warm import CommittedState, Warmth, still_current
from worker.ports import Clock, Commit, Resident, Sealed

T = TypeVar("T")

_CHAT_DIRECTORY = re.compile(r"^[0-9a-f]{24}(-\d+)?(-[0-9a-f]{8})?$")

MAX_SEGMENTS = 3
"""Objects that a restore reads at most, of transcripts and of files each."""

REFRESH_SECONDS = 30 * 86400.0
"""A segment older than this is written anew with the next commit. The bucket's lifecycle counts
from an object's creation, so it must be longer than this and the session's TTL together."""

KEPT = "kept-"
"""How the name of a file begins that marks a chat's directory as kept, and not in use."""

QUIET_SECONDS = 5.0
"""How long a transcript entry waits at most before it is logged; a tool call waits for nothing."""


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

    async def record(self) -> None:
        await self._log.flush()

    async def taken_over(self) -> None:
        """What earlier attempts record from now on does not count."""
        await self._log.flush(taken_over=True)

    async def seal(self, *, with_files: bool = True) -> Sealed:
        lines, files = await asyncio.gather(
            self._seal_lines(), self._seal_files() if with_files else _same(self.plan.files)
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

    def kept(self) -> "Kept | None":
        """What the chat's next turn may find."""
        if self._state is None or self._resident is None or self._stamps is None:
            return None
        if not self._copied:
            return None
        self.transcript.rebase(
            [_local(self.directory, segment) for segment in self._state.segments],
            self._sealed_lines,
        )
        self._tree.mark(self._stamps)
        mark = self.directory / f"{KEPT}{os.urandom(4).hex()}"
        try:
            mark.touch(mode=0o600)
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
        await _removed(self._resident, self.directory, self._store)

    async def _seal_lines(self) -> tuple[Segment, ...]:
        self._sealed_lines = self.transcript.length
        trimmed = await self._store.run(self.transcript.trimmed)
        if trimmed is not None:
            return await self._written("lines", (), trimmed)
        delta = await self._store.run(self.transcript.delta)
        if not delta:
            return self.plan.segments
        first = self._merged_from(self.plan.segments, len(delta))
        merged = b"".join([*await self._stored(self.plan.segments[first:]), delta])
        return await self._written("lines", self.plan.segments[:first], merged)

    async def _seal_files(self) -> tuple[Segment, ...]:
        committed = self.plan.files
        try:
            delta, stamps = await self._store.run(self._tree.changes)
            if not delta:
                self._stamps = stamps
                return committed
            first = self._merged_from(committed, len(delta))
            if first == 0:  # all of it: what was overwritten in the meantime is left behind
                merged, stamps = await self._store.run(lambda: self._tree.changes({}))
            else:
                merged = b"".join([*await self._stored(committed[first:]), delta])
        except TooManyFilesError as exc:
            raise WorkspaceLimitError(str(exc)) from exc
        self._stamps = stamps
        return await self._written("files", committed[:first], merged) if merged else ()

    async def _stored(self, segments: Sequence[Segment]) -> list[bytes]:
        paths = [_local(self.directory, segment) for segment in segments]
        data: list[bytes] = await self._store.run(lambda: [path.read_bytes() for path in paths])
        return data

    async def _written(
        self, kind: str, kept: tuple[Segment, ...], data: bytes
    ) -> tuple[Segment, ...]:
        # One claim commits once, so its generation is a name that nobody else uses.
        key = f"{self._prefix}/{self.plan.session_id}/{self._claim.generation:08d}.{kind}.zst"
        segment = await self._store.seal(key, data, self._clock.now())
        if self._resident is not None:  # the next turn may merge it
            try:
                await self._store.run(lambda: _local(self.directory, segment).write_bytes(data))
            except OSError:  # the disk is full; the turn is no worse for it
                self._copied = False
        return (*kept, segment)

    def _merged_from(self, segments: Sequence[Segment], delta: int) -> int:
        now = self._clock.now()
        if any(segment.written_at + REFRESH_SECONDS < now for segment in segments):
            return 0
        return merge_from([segment.size for segment in segments], delta, MAX_SEGMENTS)


@dataclass(frozen=True)
class Kept:
    """A chat between two of its turns: its directory, and the process that has it open."""

    state: CommittedState
    resident: Resident
    directory: Path
    mark: Path
    transcript: Transcript
    tree: FileTree
    _store: ObjectStore

    @property
    def memory(self) -> int:
        return self.resident.memory

    def reclaimed(self) -> bool:
        """Whether the directory is this worker's again. Another one on this machine that restores
        the chat takes it away, because the chat has only one path: whoever removes the mark has it.
        """
        try:
            self.mark.unlink()
        except FileNotFoundError:
            return False
        return True

    async def close(self) -> None:
        if self.reclaimed():
            await _removed(self.resident, self.directory, self._store)
        else:
            await self.resident.end()

    def tidy(self) -> None:
        """Remove the copies of segments that were merged since."""
        needed = {_local(self.directory, s) for s in (*self.state.segments, *self.state.files)}
        for path in (self.directory / "segments").iterdir():
            if path not in needed:
                path.unlink()


async def _removed(resident: Resident | None, directory: Path, store: ObjectStore) -> None:
    """Nothing of the chat runs any more, and nothing of it is left."""
    try:
        if resident is not None:
            await resident.end()
    finally:
        await store.run(lambda: remove_tree(directory))


async def _same(segments: tuple[Segment, ...]) -> tuple[Segment, ...]:
    return segments


class S3Checkouts:
    """Opens checkouts below `work_dir`; `project` is the CLI's project key (PROJECT_PATH)."""

    def __init__(
        self,
        store: ObjectStore,
        work_dir: Path,
        project: str,
        clock: Clock,
        limits: Limits | None = None,
        warmth: Warmth | None = None,
        owners: Owners | None = None,
    ) -> None:
        self._owners = owners or Owners()
        self._store = store
        self._work_dir = work_dir
        self._project = project
        self._clock = clock
        self._limits = limits
        self._shelf: Shelf[Kept] = Shelf(warmth or Warmth(), clock)

    @contextlib.asynccontextmanager
    async def open(self, claim: Claim) -> AsyncIterator[S3Checkout]:
        chat = hashlib.sha256(claim.job.session_key.encode()).hexdigest()[:24]
        kept = await self._shelf.take(
            chat, lambda kept: still_current(kept.state, claim) and kept.reclaimed()
        )
        checkout = await (self._resumed(claim, chat, kept) if kept else self._restored(claim, chat))
        quiet = asyncio.create_task(self._record_when_quiet(checkout))
        left = None
        try:
            try:
                yield checkout
            finally:
                quiet.cancel()
                await asyncio.wait({quiet})
            # A path of its own, which only a zombie makes necessary, is no place to stay.
            left = checkout.kept() if checkout.directory.name == chat else None
        finally:
            if left is None:
                await asyncio.shield(checkout.close())
            else:
                self._shelf.put(chat, left)

    async def close(self) -> None:
        await self._shelf.clear()

    async def _resumed(self, claim: Claim, chat: str, kept: Kept) -> S3Checkout:
        try:
            await self._on_disk(kept.tidy)
        except BaseException:
            await asyncio.shield(_removed(kept.resident, kept.directory, self._store))
            raise
        checkout = self._checkout(claim, chat, kept.directory, kept.transcript, kept.tree)
        checkout.leave(kept.resident)
        return checkout

    async def _restored(self, claim: Claim, chat: str) -> S3Checkout:
        directory = await self._on_disk(lambda: self._fresh_directory(chat, claim.generation))
        try:
            return await self._restored_into(directory, claim, chat)
        except BaseException:
            await asyncio.shield(_removed(None, directory, self._store))
            raise

    async def _restored_into(self, directory: Path, claim: Claim, chat: str) -> S3Checkout:
        plan = claim.plan
        lines = [_local(directory, segment) for segment in plan.segments]
        files = [_local(directory, segment) for segment in plan.files]
        recorded, _ = await asyncio.gather(
            # Only a job that has been tried before can have left anything.
            read_log(self._store, _log_prefix(claim, chat), directory / "log")
            if claim.attempt > 1
            else _nothing(),
            asyncio.gather(
                *map(self._store.fetch, (*plan.segments, *plan.files), (*lines, *files))
            ),
        )
        session = directory / "config" / "projects" / self._project / plan.session_id
        roots = {"workspace": directory / "workspace", "session": session}
        tree = FileTree(roots, self._limits, skip=_is_transcript)
        transcript = Transcript(lines, now_ms=int(self._clock.now() * 1000))
        await self._on_disk(
            lambda: self._lay_out(plan, directory, lines, files, tree, transcript, recorded)
        )
        checkout = self._checkout(claim, chat, directory, transcript, tree)
        checkout.cut_off = bool(recorded.entries)
        if claim.attempt > 1:
            await checkout.taken_over()
        return checkout

    def _checkout(
        self, claim: Claim, chat: str, directory: Path, transcript: Transcript, tree: FileTree
    ) -> S3Checkout:
        prefix = _log_prefix(claim, chat)
        return S3Checkout(
            plan=claim.plan,
            directory=directory,
            transcript=transcript,
            cut_off=False,
            _claim=claim,
            _tree=tree,
            _log=TurnLog(self._store, prefix, claim.generation, transcript, tree),
            _store=self._store,
            _prefix=f"sessions/{claim.job.request.tenant_id}/{chat}",
            _clock=self._clock,
        )

    def _lay_out(
        self,
        plan: SessionPlan,
        directory: Path,
        lines: Sequence[Path],
        files: Sequence[Path],
        tree: FileTree,
        transcript: Transcript,
        recorded: Recorded,
    ) -> None:
        """The committed state, then what the cut-off turn had added to it."""
        adopted = directory / "log" / "adopted"
        key: SessionKey = {"project_key": self._project, "session_id": plan.session_id}
        try:
            recorded.graft(transcript, key)
            adopted.write_bytes(transcript.delta() or encode([]))
            restore([*lines, adopted], directory / "config" / "projects", self._project)
            for archive in files:
                with archive.open("rb") as stored:
                    tree.apply(stored)
            tree.mark()
            for archive in recorded.archives:
                with archive.open("rb") as stored:
                    tree.apply(stored)
        except MalformedSegmentError as exc:
            raise StateDamagedError("corrupt", str(exc)) from exc
        self._owners.hand_over(directory)

    async def _record_when_quiet(self, checkout: S3Checkout) -> None:
        while True:
            await asyncio.sleep(QUIET_SECONDS)
            with contextlib.suppress(WorkerError):  # the next one, or a tool call, will tell
                await checkout.record()

    def clear(self) -> None:
        """Remove what a killed process left, when no other process works below `work_dir`."""
        self._work_dir.mkdir(parents=True, exist_ok=True, mode=self._owners.mode)
        self._work_dir.chmod(self._owners.mode)
        # Held until this process ends: a bare descriptor, which nothing closes before.
        lock = os.open(self._work_dir / ".lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
            return
        for path in self._work_dir.iterdir():
            if path.is_dir() and _CHAT_DIRECTORY.match(path.name):
                remove_tree(path)

    async def _on_disk(self, work: Callable[[], T]) -> T:
        """Work on the local disk, which may be full."""
        try:
            done: T = await self._store.run(work)
        except OSError as exc:
            raise UnavailableError("disk", f"{exc.strerror} ({self._work_dir})") from exc
        return done

    def _fresh_directory(self, chat: str, generation: int) -> Path:
        """The chat's own path; a suffixed one while a zombie of this machine still has that."""
        self._work_dir.mkdir(parents=True, exist_ok=True, mode=self._owners.mode)
        _take_away(self._work_dir / chat)
        for name in (chat, f"{chat}-{generation}", f"{chat}-{generation}-{os.urandom(4).hex()}"):
            try:
                (self._work_dir / name).mkdir(mode=0o700)
            except FileExistsError:
                continue
            for part in ("workspace", "home", "tmp", "config", "segments", "log"):
                (self._work_dir / name / part).mkdir(mode=0o700)
            self._owners.assign(self._work_dir / name)
            return self._work_dir / name
        msg = f"no directory of its own for {chat} below {self._work_dir}"
        raise AssertionError(msg)


def _take_away(directory: Path) -> None:
    """Of another worker on this machine, if it only keeps it."""
    for mark in directory.glob(f"{KEPT}*"):
        with contextlib.suppress(FileNotFoundError):
            mark.unlink()
            aside = directory.with_name(f"{directory.name}-{os.urandom(4).hex()}")
            directory.rename(aside)
            remove_tree(aside)


async def _nothing() -> Recorded:
    return Recorded()


def _local(directory: Path, segment: Segment) -> Path:
    """A segment's copy; the last part of its key is its own within a session."""
    return directory / "segments" / segment.key.rpartition("/")[2]


def _log_prefix(claim: Claim, chat: str) -> str:
    request = claim.job.request
    prompt = hashlib.sha256(request.user_message.encode()).hexdigest()[:16]
    return f"turns/{request.tenant_id}/{chat}/{claim.job.job_id}/{prompt}"


def _is_transcript(root: str, path: str) -> bool:
    """Subagents' transcripts come through the session store, not as files."""
    return root == "session" and path.startswith("subagents/")
