"""Sessions in the bucket, restored into a directory of their own."""

import asyncio
import contextlib
import hashlib
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import TypeVar

from claude_agent_sdk import SessionKey

from worker.adapters.checkout import S3Checkout
from worker.adapters.directories import Directories, local_copy
from worker.adapters.filetree import FileTree, Limits
from worker.adapters.kept import Kept, removed
from worker.adapters.objects import ObjectStore
from worker.adapters.owners import Owners
from worker.adapters.segments import MalformedSegmentError, restore
from worker.adapters.shelf import Shelf
from worker.adapters.transcript import Transcript
from worker.adapters.turnlog import Recorded, TurnLog, read_log
from worker.domain.claim import Claim
from worker.domain.errors import StateDamagedError, UnavailableError, WorkerError
from worker.domain.session import SessionPlan
from worker.domain.warm import Warmth, still_current
from worker.ports import Clock

T = TypeVar("T")

QUIET_SECONDS = 5.0
"""How long a transcript entry waits at most before it is logged; a tool call waits for nothing."""


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
        self._store = store
        self._work_dir = work_dir
        self._directories = Directories(work_dir, owners or Owners())
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

    async def _restored(self, claim: Claim, chat: str) -> S3Checkout:
        directory = await self._on_disk(lambda: self._directories.fresh(chat, claim.generation))
        try:
            return await self._restored_into(directory, claim, chat)
        except BaseException:
            await asyncio.shield(removed(None, directory, self._store))
            raise

    async def _restored_into(self, directory: Path, claim: Claim, chat: str) -> S3Checkout:
        plan = claim.plan
        lines = [local_copy(directory, segment) for segment in plan.segments]
        files = [local_copy(directory, segment) for segment in plan.files]
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
            _log=TurnLog(
                self._store, prefix, claim.generation, transcript, tree, directory / "log"
            ),
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


async def _nothing() -> Recorded:
    return Recorded()


def _log_prefix(claim: Claim, chat: str) -> str:
    request = claim.job.request
    prompt = hashlib.sha256(request.user_message.encode()).hexdigest()[:16]
    return f"turns/{request.tenant_id}/{chat}/{claim.job.job_id}/{prompt}"


def _is_transcript(root: str, path: str) -> bool:
    """Subagents' transcripts come through the session store, not as files."""
    return root == "session" and path.startswith("subagents/")
