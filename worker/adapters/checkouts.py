"""Sessions in the bucket, restored into a directory of their own."""

import asyncio
import contextlib
import hashlib
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

from claude_agent_sdk import SessionKey

from worker.adapters.checkout import S3Checkout
from worker.adapters.directories import Directories, directory_name, local_copy
from worker.adapters.filetree import FileTree, Limits
from worker.adapters.forking import copied
from worker.adapters.kept import Kept, Spare, removed
from worker.adapters.objects import ObjectStore
from worker.adapters.owners import Owners
from worker.adapters.segments import MalformedSegmentError, restore
from worker.adapters.shelf import Shelf
from worker.adapters.spares import Spares
from worker.adapters.transcript import Transcript
from worker.adapters.turnlog import Recorded, StoredLog, TurnLog, find_log, read_log
from worker.domain.claim import Claim
from worker.domain.errors import StateDamagedError, UnavailableError, WorkerError
from worker.domain.policy import TurnSpec
from worker.domain.session import SessionPlan
from worker.domain.warm import Warmth, spare_for, startable, still_current
from worker.ports import Clock, Resident

T = TypeVar("T")

QUIET_SECONDS = 5.0
"""How long a transcript entry waits at most before it is logged; a tool call waits for nothing."""


Starter = Callable[[TurnSpec, str, Path, Transcript], Awaitable[Resident]]
"""Starts the agent's process for the first turn of a session: of this id, in this directory, with
its transcript mirrored to this one.
"""


@dataclass(frozen=True)
class Ahead:
    """How many processes are started ahead of the chats that they will serve (SPARE_AGENTS), and
    who is told of one that could not be.
    """

    count: int
    start: Starter
    failed: Callable[[Exception], None]


async def _nobody(*_arguments: object) -> Resident:
    raise NotImplementedError


NOTHING_AHEAD = Ahead(0, _nobody, lambda _: None)


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
        ahead: Ahead = NOTHING_AHEAD,
    ) -> None:
        self._store = store
        self._work_dir = work_dir
        self._directories = Directories(work_dir, owners or Owners())
        self._project = project
        self._clock = clock
        self._limits = limits
        warmth = warmth or Warmth()
        self._shelf: Shelf[Kept] = Shelf(warmth, clock)
        self._start = ahead.start
        self._spares = Spares(
            ahead.count, self._spare, warmth.idle_seconds, clock, ahead.failed, self._shelf.reserve
        )

    @contextlib.asynccontextmanager
    async def open(self, claim: Claim) -> AsyncIterator[S3Checkout]:
        chat = hashlib.sha256(claim.job.session_key.encode()).hexdigest()[:24]
        kept = await self._shelf.take(
            chat, lambda kept: still_current(kept.state, claim) and kept.reclaimed()
        )
        spare = None if kept else self._spare_of(claim)
        if spare is not None:
            checkout = self._begun(claim, chat, spare)
        else:
            checkout = await (
                self._resumed(claim, chat, kept) if kept else self._restored(claim, chat)
            )
        quiet = asyncio.create_task(self._record_when_quiet(checkout))
        left = None
        try:
            try:
                yield checkout
            finally:
                quiet.cancel()
                await asyncio.wait({quiet})
            # A path of its own, which only a zombie makes necessary, is no place to stay.
            own = checkout.directory.name == directory_name(checkout.plan.session_id)
            left = checkout.kept() if own else None
        finally:
            if left is None:
                await asyncio.shield(checkout.close())
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

    def clear(self) -> None:
        """Remove what a killed process left; see Directories."""
        self._directories.clear()

    async def _resumed(self, claim: Claim, chat: str, kept: Kept) -> S3Checkout:
        try:
            await self._on_disk(kept.tidy)
        except BaseException:
            await asyncio.shield(removed(kept.resident, kept.directory, self._store))
            raise
        checkout = self._checkout(claim, chat, kept.directory, kept.transcript, kept.tree)
        checkout.leave(kept.resident)
        return checkout

    def _spare_of(self, claim: Claim) -> Spare | None:
        spec = spare_for(claim)
        return None if spec is None else self._spares.take(spec)

    def _begun(self, claim: Claim, chat: str, spare: Spare) -> S3Checkout:
        """In the session that the process was started with."""
        claim = _in_session(claim, spare.session_id)
        checkout = self._checkout(claim, chat, spare.directory, spare.transcript, spare.tree)
        checkout.leave(spare.resident)
        return checkout

    async def _spare(self, spec: TurnSpec) -> Spare:
        """Raises UnavailableError, and what the process's start does."""
        plan = SessionPlan(str(uuid.uuid4()), "new")
        directory = await self._on_disk(lambda: self._directories.fresh(plan.session_id, 0))
        try:
            transcript, tree = await self._laid_out(directory, plan, Recorded())
            resident = await self._start(spec, plan.session_id, directory, transcript)
        except BaseException:
            await asyncio.shield(removed(None, directory, self._store))
            raise
        return Spare(plan.session_id, resident, directory, transcript, tree, self._store)

    async def _restored(self, claim: Claim, chat: str) -> S3Checkout:
        # Only a job that has been tried before can have left anything.
        tried = claim.attempt > 1
        log = await find_log(self._of(claim), _log_prefix(claim, chat)) if tried else StoredLog()
        if claim.plan.status == "new" and log.session_id is not None:
            # What the model has seen of its directory is in the part of the turn that goes on.
            claim = _in_session(claim, log.session_id)
        directory = await self._on_disk(
            lambda: self._directories.fresh(claim.plan.session_id, claim.generation)
        )
        try:
            return await self._restored_into(directory, claim, chat, log)
        except BaseException:
            await asyncio.shield(removed(None, directory, self._store))
            raise

    async def _restored_into(
        self, directory: Path, claim: Claim, chat: str, log: StoredLog
    ) -> S3Checkout:
        plan = claim.plan
        lines = [local_copy(directory, segment) for segment in plan.segments]
        files = [local_copy(directory, segment) for segment in plan.files]
        store = self._of(claim)
        recorded, _ = await asyncio.gather(
            read_log(store, log, directory / "log"),
            asyncio.gather(*map(store.fetch, (*plan.segments, *plan.files), (*lines, *files))),
        )
        inherited: dict[str, Sequence[Path]] = {}
        if plan.source_id is not None:
            renamed, stored = directory / "segments" / "inherited", lines
            await self._on_disk(lambda: _rename(plan, stored, renamed))
            inherited, lines = {"lines": [renamed], "files": files}, [renamed]
        transcript, tree = await self._laid_out(directory, plan, recorded, lines, files)
        checkout = self._checkout(claim, chat, directory, transcript, tree)
        checkout.cut_off = bool(recorded.entries)
        if inherited:  # nothing of it is stored for this chat yet
            checkout.plan, checkout.inherited = replace(plan, segments=(), files=()), inherited
        if claim.attempt > 1:
            await checkout.taken_over()
        return checkout

    def _checkout(
        self, claim: Claim, chat: str, directory: Path, transcript: Transcript, tree: FileTree
    ) -> S3Checkout:
        prefix, store = _log_prefix(claim, chat), self._of(claim)
        return S3Checkout(
            plan=claim.plan,
            directory=directory,
            transcript=transcript,
            cut_off=False,
            _claim=claim,
            _tree=tree,
            _log=TurnLog(
                store,
                prefix,
                claim.generation,
                claim.plan.session_id,
                transcript,
                tree,
                directory / "log",
            ),
            _store=store,
            _prefix=f"sessions/{claim.job.request.tenant_id}/{chat}",
            _clock=self._clock,
        )

    def _of(self, claim: Claim) -> ObjectStore:
        return self._store.of(claim.job.request.tenant_id)

    async def _laid_out(
        self,
        directory: Path,
        plan: SessionPlan,
        recorded: Recorded,
        lines: Sequence[Path] = (),
        files: Sequence[Path] = (),
    ) -> tuple[Transcript, FileTree]:
        session = directory / "config" / "projects" / self._project / plan.session_id
        roots = {"workspace": directory / "workspace", "session": session}
        tree = FileTree(roots, self._limits, skip=_is_transcript)
        transcript = Transcript(lines, now_ms=int(self._clock.now() * 1000))
        await self._on_disk(
            lambda: self._lay_out(plan, directory, lines, files, tree, transcript, recorded)
        )
        return transcript, tree

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
            with adopted.open("wb") as out:
                transcript.delta(out)
            restore([*lines, adopted], directory / "config" / "projects", self._project)
            for archive in files:
                with archive.open("rb") as stored:
                    tree.apply(stored)
            # Before the mark: giving a file away changes it.
            self._directories.hand_over(directory)
            tree.mark()
            for archive in recorded.archives:
                with archive.open("rb") as stored:
                    tree.apply(stored)
        except MalformedSegmentError as exc:
            raise StateDamagedError("corrupt", str(exc)) from exc
        self._directories.hand_over(directory)

    async def _record_when_quiet(self, checkout: S3Checkout) -> None:
        while True:
            await asyncio.sleep(QUIET_SECONDS)
            with contextlib.suppress(WorkerError):  # the next one, or a tool call, will tell
                await checkout.record()

    async def _on_disk(self, work: Callable[[], T]) -> T:
        """Work on the local disk, which may be full."""
        try:
            done: T = await self._store.run(work)
        except OSError as exc:
            raise UnavailableError("disk", f"{exc.strerror} ({self._work_dir})") from exc
        return done


def _in_session(claim: Claim, session_id: str) -> Claim:
    return replace(claim, plan=replace(claim.plan, session_id=session_id))


def _rename(plan: SessionPlan, lines: Sequence[Path], target: Path) -> None:
    """Another session's transcript, as that of the fork. Raises StateDamagedError."""
    try:
        with contextlib.ExitStack() as opened, target.open("wb") as out:
            stored = [opened.enter_context(path.open("rb")) for path in lines]
            out.writelines(copied(stored, str(plan.source_id), plan.session_id))
    except MalformedSegmentError as exc:
        raise StateDamagedError("corrupt", str(exc)) from exc


def _log_prefix(claim: Claim, chat: str) -> str:
    request = claim.job.request
    prompt = hashlib.sha256(request.user_message.encode()).hexdigest()[:16]
    return f"turns/{request.tenant_id}/{chat}/{claim.job.job_id}/{prompt}"


def _is_transcript(root: str, path: str) -> bool:
    """Subagents' transcripts come through the session store, not as files."""
    return root == "session" and path.startswith("subagents/")
