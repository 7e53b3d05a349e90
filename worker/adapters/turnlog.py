"""What a turn has done so far, durable before its commit.

    turns/<tenant>/<chat>/<job>/<prompt>/
        00000007-000000.<session>.files.zst    the files it changed, then
        00000007-000000.<session>.lines.zst    the transcript it wrote

The session is in the name, because who restores it needs its directory first. Nothing refers to
these objects; a lifecycle rule removes them. The next attempt of the job finds them by their
prefix; one whose prompt was edited in between does not. Each generation's parts hold the whole
turn, beginning with what it took over from the generation before, so only the latest generation
counts, and a zombie's later parts do not.

Transcript lines are taken before the files are looked at and stored after them: a tool result that
is recorded has its effect on the workspace recorded, too.
"""

import asyncio
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from claude_agent_sdk import SessionKey

from worker.adapters.filetree import FileTree, Stamp, TooManyFilesError
from worker.adapters.objects import ObjectStore
from worker.adapters.segments import MalformedSegmentError, decode
from worker.adapters.spool import Spool, spooled
from worker.adapters.transcript import Transcript
from worker.domain.errors import UnavailableError
from worker.domain.resume import Entry, grafted, in_session, recorded_part

_SESSION = re.compile(r"/\d+-\d+\.([0-9a-f-]{36})\.(?:lines|files)\.zst$")


@dataclass(frozen=True, slots=True)
class Recorded:
    """What an earlier attempt left: entries of the conversation and of its subagents', in order,
    and archives of files.
    """

    entries: tuple[Entry, ...] = ()
    others: tuple[tuple[SessionKey, Entry], ...] = ()
    archives: tuple[Path, ...] = ()

    def graft(self, transcript: Transcript, key: SessionKey) -> None:
        """Make the transcript of `key`, as it is committed by now, go on with this."""
        if not self.entries:
            return
        session = key["session_id"]
        entries = grafted(self.entries, transcript.last_uuid(key))
        transcript.add(key, [in_session(entry, session) for entry in entries])
        for place, entry in self.others:
            transcript.add({**place, "session_id": session}, [in_session(entry, session)])


class TurnLog:
    """Writes the log of one attempt (`generation`) of a job; large parts by way of `folder`."""

    def __init__(
        self,
        store: ObjectStore,
        prefix: str,
        generation: int,
        session_id: str,
        transcript: Transcript,
        tree: FileTree,
        folder: Path,
    ) -> None:
        self._store = store
        self._folder = folder
        self._prefix = prefix
        self._generation = generation
        self._session_id = session_id
        self._transcript = transcript
        self._tree = tree
        self._lines = 0
        self._stamps: Mapping[str, Stamp] | None = None
        self._part = 0
        self._lock = asyncio.Lock()

    async def flush(self, *, taken_over: bool = False) -> None:
        """Store what came since the last flush; returns when it is durable. `taken_over`: even if
        that is nothing, so that from now on the parts of earlier generations do not count.
        """
        async with self._lock:
            length = self._transcript.length
            if length == self._lines and not taken_over:
                return
            # A name of its own for each try: one whose answer was lost may be there, with less.
            # What is stored twice is known by its uuid.
            number = f"{self._generation:08d}-{self._part:06d}"
            name = f"{self._prefix}/{number}.{self._session_id}"
            self._part += 1
            with spooled(self._folder) as lines, spooled(self._folder) as files:
                await self._store.run(lambda: self._transcript.delta(lines, self._lines))
                stamps = await self._store.run(lambda: self._changed_files(files))
                if files.size:
                    await self._store.put(f"{name}.files.zst", files)
                await self._store.put(f"{name}.lines.zst", lines)
            self._lines, self._stamps = length, stamps

    def _changed_files(self, out: Spool) -> Mapping[str, Stamp]:
        try:
            return self._tree.pack(out, self._stamps)
        except TooManyFilesError:
            # The end of the turn says so; until then its transcript is worth recording.
            return self._stamps or self._tree.marked


@dataclass(frozen=True, slots=True)
class StoredLog:
    """The parts of the latest generation that has recorded anything of a turn."""

    keys: tuple[str, ...] = ()

    @property
    def session_id(self) -> str | None:
        """Of the session that the turn was in, when it is told."""
        found = _SESSION.search(self.keys[0]) if self.keys else None
        return found and found[1]


async def find_log(store: ObjectStore, prefix: str) -> StoredLog:
    keys = await store.keys(f"{prefix}/")
    latest = max((_generation(key) for key in keys), default=None)
    return StoredLog(tuple(key for key in keys if _generation(key) == latest))


async def read_log(store: ObjectStore, log: StoredLog, folder: Path) -> Recorded:
    """What was recorded of the turn, downloaded into `folder`."""
    paths = [folder / key.rpartition("/")[2] for key in log.keys]
    await asyncio.gather(*map(store.get, log.keys, paths))
    entries = await store.run(lambda: _entries([p for p in paths if ".lines." in p.name]))
    kept = recorded_part([entry for key, entry in entries if not key.get("subpath")])
    if not kept:
        return Recorded()
    return Recorded(
        kept,
        tuple((key, entry) for key, entry in entries if key.get("subpath")),
        tuple(path for path in paths if ".files." in path.name),
    )


def _entries(paths: list[Path]) -> list[tuple[SessionKey, Entry]]:
    found: list[tuple[SessionKey, Entry]] = []
    for path in paths:
        try:
            with path.open("rb") as stored:
                for key, lines in decode(stored):
                    found += [(key, _entry(line)) for line in lines]
        except (MalformedSegmentError, ValueError, RecursionError) as exc:
            # To start the turn again could repeat what it did: better to fail for an operator.
            raise UnavailableError("turn_log", f"{path.name}: {exc}") from exc
    return found


def _entry(line: bytes) -> Entry:
    entry = json.loads(line)
    if not isinstance(entry, dict):
        raise ValueError("an entry that is no object")  # noqa: TRY004 - of stored bytes, as above
    return entry


def _generation(key: str) -> int:
    return int(key.rpartition("/")[2].partition("-")[0])
