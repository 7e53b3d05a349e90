"""Sessions in the bucket, restored into a directory of their own for one turn.

    <work_dir>/<chat>/          removed after the turn
        workspace/              the agent's working directory
        home/  tmp/             its HOME and TMPDIR
        config/projects/<project>/<session>.jsonl
        segments/               what was downloaded, as stored

The path of a chat is the same on every machine, because the model sees paths in its history.
"""

import asyncio
import contextlib
import fcntl
import hashlib
import os
import re
import shutil
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

from botocore.exceptions import BotoCoreError
from botocore.response import StreamingBody
from urllib3.exceptions import HTTPError

from worker.adapters.aws import Aws, RefusedError
from worker.adapters.segments import MalformedSegmentError, restore
from worker.adapters.transcript import Transcript
from worker.domain.claim import Claim
from worker.domain.errors import StateDamagedError, UnavailableError
from worker.domain.session import Segment, SessionPlan, merge_from
from worker.ports import Clock

_CHAT_DIRECTORY = re.compile(r"^[0-9a-f]{24}(-\d+)?(-[0-9a-f]{8})?$")

CHUNK = 1024 * 1024

MAX_SEGMENTS = 3
"""Objects that a restore reads at most."""

REFRESH_SECONDS = 30 * 86400.0
"""A segment older than this is written anew with the next commit. The bucket's lifecycle counts
from an object's creation, so it must be longer than this and the session's TTL together."""


@dataclass
class S3Checkout:
    """One chat's state on this machine."""

    plan: SessionPlan
    directory: Path
    transcript: Transcript
    _store: "SegmentStore"
    _prefix: str
    _generation: int
    _clock: Clock

    @property
    def transcript_path(self) -> Path:
        return self.directory / "config" / "projects"

    async def seal(self) -> tuple[Segment, ...]:
        committed = self.plan.segments
        delta = await self._store.run(self.transcript.delta)
        if not delta:
            return committed
        first = self._merged_from(len(delta))
        merged = b"".join(
            [
                *[
                    (self.directory / "segments" / str(index)).read_bytes()
                    for index in range(first, len(committed))
                ],
                delta,
            ]
        )
        # One claim writes one segment, so its generation is a name that nobody else uses.
        key = f"{self._prefix}/{self.plan.session_id}/{self._generation:08d}.zst"
        segment = Segment(key, len(merged), hashlib.sha256(merged).hexdigest(), self._clock.now())
        await self._store.put(segment, merged)
        return (*committed[:first], segment)

    def _merged_from(self, delta: int) -> int:
        oldest = min((s.written_at for s in self.plan.segments), default=self._clock.now())
        if oldest + REFRESH_SECONDS < self._clock.now():
            return 0
        return merge_from([s.size for s in self.plan.segments], delta, MAX_SEGMENTS)


class SegmentStore:
    """Immutable segments in SESSION_BUCKET."""

    def __init__(self, aws: Aws, bucket: str) -> None:
        self._aws = aws
        self._bucket = bucket
        self.run = aws.run

    async def put(self, segment: Segment, data: bytes) -> None:
        """Write once: an existing object of this name is an earlier try of the same write."""
        try:
            await self._aws.call(
                "s3",
                "put_object",
                Bucket=self._bucket,
                Key=segment.key,
                Body=data,
                IfNoneMatch="*",
                ContentType="application/zstd",
            )
        except RefusedError as exc:
            if exc.code not in {"PreconditionFailed", "412"}:
                raise

    async def get(self, segment: Segment, target: Path) -> None:
        """Download and verify; raises StateDamagedError."""
        try:
            answer = await self._aws.call("s3", "get_object", Bucket=self._bucket, Key=segment.key)
            sha256 = await self.run(lambda: _download(answer["Body"], target))
        except RefusedError as exc:
            if exc.code in {"NoSuchKey", "404"}:
                raise StateDamagedError("missing", segment.key) from exc
            raise
        if sha256 != segment.sha256:
            raise StateDamagedError("corrupt", segment.key)


class S3Checkouts:
    """Opens checkouts below `work_dir`; `project` is the CLI's project key (PROJECT_PATH)."""

    def __init__(self, store: SegmentStore, work_dir: Path, project: str, clock: Clock) -> None:
        self._store = store
        self._work_dir = work_dir
        self._project = project
        self._clock = clock

    @contextlib.asynccontextmanager
    async def open(self, claim: Claim) -> AsyncIterator[S3Checkout]:
        chat = hashlib.sha256(claim.job.session_key.encode()).hexdigest()[:24]
        directory = await self._store.run(lambda: self._fresh_directory(chat, claim.generation))
        try:
            committed = [
                directory / "segments" / str(index) for index in range(len(claim.plan.segments))
            ]
            await asyncio.gather(*map(self._store.get, claim.plan.segments, committed))
            await self._store.run(
                lambda: self._restore(committed, directory / "config" / "projects", claim)
            )
            yield S3Checkout(
                plan=claim.plan,
                directory=directory,
                transcript=Transcript(committed, now_ms=int(self._clock.now() * 1000)),
                _store=self._store,
                _prefix=f"sessions/{claim.job.request.tenant_id}/{chat}",
                _generation=claim.generation,
                _clock=self._clock,
            )
        finally:
            await asyncio.shield(self._store.run(lambda: shutil.rmtree(directory, True)))

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

    def _restore(self, committed: list[Path], projects: Path, claim: Claim) -> None:
        try:
            restore(committed, projects, self._project)
        except MalformedSegmentError as exc:
            raise StateDamagedError("corrupt", claim.plan.segments[0].key) from exc

    def _fresh_directory(self, chat: str, generation: int) -> Path:
        """The chat's own path; a suffixed one while a zombie of this machine still has that."""
        self._work_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        for name in (chat, f"{chat}-{generation}", f"{chat}-{generation}-{os.urandom(4).hex()}"):
            try:
                (self._work_dir / name).mkdir(mode=0o700)
            except FileExistsError:
                continue
            for part in ("workspace", "home", "tmp", "config", "segments"):
                (self._work_dir / name / part).mkdir(mode=0o700)
            return self._work_dir / name
        msg = f"no directory of its own for {chat} below {self._work_dir}"
        raise AssertionError(msg)


def _download(body: StreamingBody, target: Path) -> str:
    digest = hashlib.sha256()
    try:
        with target.open("wb") as out:
            for chunk in body.iter_chunks(CHUNK):
                digest.update(chunk)
                out.write(chunk)
    except (BotoCoreError, HTTPError) as exc:
        raise UnavailableError("s3", f"get_object: {exc}") from exc
    return digest.hexdigest()
