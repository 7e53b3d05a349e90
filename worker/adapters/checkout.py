"""Sessions in the bucket, restored into a directory of their own for one turn.

    <work_dir>/<chat>/          removed after the turn
        workspace/              the agent's working directory
        home/  tmp/             its HOME and TMPDIR
        config/projects/<project>/<session>.jsonl      transcripts; large tool results beside them
        segments/  log/         what was downloaded, as stored

The path of a chat is the same on every machine, because the model sees paths in its history.
"""

import asyncio
import contextlib
import fcntl
import hashlib
import os
import re
import shutil
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from claude_agent_sdk import SessionKey

from worker.adapters.filetree import FileTree, Limits, TooManyFilesError
from worker.adapters.objects import ObjectStore
from worker.adapters.segments import MalformedSegmentError, encode, restore
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
from worker.ports import Clock, Sealed

T = TypeVar("T")

_CHAT_DIRECTORY = re.compile(r"^[0-9a-f]{24}(-\d+)?(-[0-9a-f]{8})?$")

MAX_SEGMENTS = 3
"""Objects that a restore reads at most, of transcripts and of files each."""

REFRESH_SECONDS = 30 * 86400.0
"""A segment older than this is written anew with the next commit. The bucket's lifecycle counts
from an object's creation, so it must be longer than this and the session's TTL together."""

QUIET_SECONDS = 5.0
"""How long a transcript entry waits at most before it is logged; a tool call waits for nothing."""


@dataclass
class S3Checkout:
    """One chat's state on this machine."""

    plan: SessionPlan
    directory: Path
    transcript: Transcript
    cut_off: bool
    _tree: FileTree
    _log: TurnLog
    _store: ObjectStore
    _prefix: str
    _generation: int
    _clock: Clock

    async def record(self) -> None:
        await self._log.flush()

    async def seal(self, *, with_files: bool = True) -> Sealed:
        lines, files = await asyncio.gather(
            self._seal_lines(), self._seal_files() if with_files else _same(self.plan.files)
        )
        return Sealed(lines, files)

    async def _seal_lines(self) -> tuple[Segment, ...]:
        delta = await self._store.run(self.transcript.delta)
        if not delta:
            return self.plan.segments
        first = self._merged_from(self.plan.segments, len(delta))
        merged = b"".join([*self._downloaded("lines", self.plan.segments, first), delta])
        return await self._written("lines", self.plan.segments[:first], merged)

    async def _seal_files(self) -> tuple[Segment, ...]:
        committed = self.plan.files
        try:
            delta, _ = await self._store.run(self._tree.changes)
            if not delta:
                return committed
            first = self._merged_from(committed, len(delta))
            if first == 0:  # all of it: what was overwritten in the meantime is left behind
                merged = await self._store.run(self._tree.everything)
            else:
                merged = b"".join([*self._downloaded("files", committed, first), delta])
        except TooManyFilesError as exc:
            raise WorkspaceLimitError(str(exc)) from exc
        return await self._written("files", committed[:first], merged) if merged else ()

    def _downloaded(self, kind: str, segments: Sequence[Segment], first: int) -> list[bytes]:
        folder = self.directory / "segments"
        return [(folder / f"{kind}-{n}").read_bytes() for n in range(first, len(segments))]

    async def _written(
        self, kind: str, kept: tuple[Segment, ...], data: bytes
    ) -> tuple[Segment, ...]:
        # One claim commits once, so its generation is a name that nobody else uses.
        key = f"{self._prefix}/{self.plan.session_id}/{self._generation:08d}.{kind}.zst"
        return (*kept, await self._store.seal(key, data, self._clock.now()))

    def _merged_from(self, segments: Sequence[Segment], delta: int) -> int:
        now = self._clock.now()
        if any(segment.written_at + REFRESH_SECONDS < now for segment in segments):
            return 0
        return merge_from([segment.size for segment in segments], delta, MAX_SEGMENTS)


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
    ) -> None:
        self._store = store
        self._work_dir = work_dir
        self._project = project
        self._clock = clock
        self._limits = limits

    @contextlib.asynccontextmanager
    async def open(self, claim: Claim) -> AsyncIterator[S3Checkout]:
        chat = hashlib.sha256(claim.job.session_key.encode()).hexdigest()[:24]
        directory = await self._local(lambda: self._fresh_directory(chat, claim.generation))
        try:
            checkout = await self._restored(claim, chat, directory)
            quiet = asyncio.create_task(self._record_when_quiet(checkout))
            try:
                yield checkout
            finally:
                quiet.cancel()
                await asyncio.wait({quiet})
        finally:
            await asyncio.shield(self._store.run(lambda: shutil.rmtree(directory, True)))

    async def _restored(self, claim: Claim, chat: str, directory: Path) -> S3Checkout:
        plan, tenant = claim.plan, claim.job.request.tenant_id
        prompt = hashlib.sha256(claim.job.request.user_message.encode()).hexdigest()[:16]
        log_prefix = f"turns/{tenant}/{chat}/{claim.job.job_id}/{prompt}"
        lines = _targets(directory, "lines", plan.segments)
        files = _targets(directory, "files", plan.files)
        recorded, _ = await asyncio.gather(
            # Only a job that has been tried before can have left anything.
            read_log(self._store, log_prefix, directory / "log")
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
        await self._local(
            lambda: self._lay_out(plan, directory, lines, files, tree, transcript, recorded)
        )
        log = TurnLog(self._store, log_prefix, claim.generation, transcript, tree)
        if claim.attempt > 1:
            await log.flush(taken_over=True)
        return S3Checkout(
            plan=plan,
            directory=directory,
            transcript=transcript,
            cut_off=bool(recorded.entries),
            _tree=tree,
            _log=log,
            _store=self._store,
            _prefix=f"sessions/{tenant}/{chat}",
            _generation=claim.generation,
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

    async def _record_when_quiet(self, checkout: S3Checkout) -> None:
        while True:
            await asyncio.sleep(QUIET_SECONDS)
            with contextlib.suppress(WorkerError):  # the next one, or a tool call, will tell
                await checkout.record()

    def clear(self) -> None:
        """Remove what a killed process left, when no other process works below `work_dir`."""
        self._work_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        # Held until this process ends: a bare descriptor, which nothing closes before.
        lock = os.open(self._work_dir / ".lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
            return
        for path in self._work_dir.iterdir():
            if path.is_dir() and _CHAT_DIRECTORY.match(path.name):
                shutil.rmtree(path, ignore_errors=True)

    async def _local(self, work: Callable[[], T]) -> T:
        """Work on the local disk, which may be full."""
        try:
            done: T = await self._store.run(work)
        except OSError as exc:
            raise UnavailableError("disk", f"{exc.strerror} ({self._work_dir})") from exc
        return done

    def _fresh_directory(self, chat: str, generation: int) -> Path:
        """The chat's own path; a suffixed one while a zombie of this machine still has that."""
        self._work_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        for name in (chat, f"{chat}-{generation}", f"{chat}-{generation}-{os.urandom(4).hex()}"):
            try:
                (self._work_dir / name).mkdir(mode=0o700)
            except FileExistsError:
                continue
            for part in ("workspace", "home", "tmp", "config", "segments", "log"):
                (self._work_dir / name / part).mkdir(mode=0o700)
            return self._work_dir / name
        msg = f"no directory of its own for {chat} below {self._work_dir}"
        raise AssertionError(msg)


async def _nothing() -> Recorded:
    return Recorded()


def _targets(directory: Path, kind: str, segments: Sequence[Segment]) -> list[Path]:
    return [directory / "segments" / f"{kind}-{n}" for n in range(len(segments))]


def _is_transcript(root: str, path: str) -> bool:
    """Subagents' transcripts come through the session store, not as files."""
    return root == "session" and path.startswith("subagents/")
