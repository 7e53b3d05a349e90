"""What a turn has done so far, durable before its commit.

    turns/<tenant>/<chat>/<job>/00000007-000000.files.zst    the files it changed, then
                                00000007-000000.lines.zst    the transcript it wrote

Nothing refers to these objects; a lifecycle rule removes them. The next attempt of the job finds
them by their prefix. Each generation's parts hold the whole turn, with what it took over from the
generation before, so only the latest generation counts, and a zombie's later parts do not.

Transcript lines are taken before the files are looked at and stored after them: a tool result that
is recorded has its effect on the workspace recorded, too.
"""

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from claude_agent_sdk import SessionKey

from worker.adapters.filetree import FileTree, Stamp, TooManyFilesError
from worker.adapters.objects import ObjectStore
from worker.adapters.segments import MalformedSegmentError, decode
from worker.adapters.transcript import Transcript
from worker.domain.errors import UnavailableError
from worker.domain.resume import Entry, recorded_part


@dataclass(frozen=True, slots=True)
class Recorded:
    """What an earlier attempt left: entries by transcript, in order, and archives of files."""

    entries: tuple[tuple[SessionKey, tuple[Entry, ...]], ...] = ()
    archives: tuple[Path, ...] = ()


class TurnLog:
    """Writes the log of one attempt (`generation`) of a job."""

    def __init__(
        self,
        store: ObjectStore,
        prefix: str,
        generation: int,
        transcript: Transcript,
        tree: FileTree,
    ) -> None:
        self._store = store
        self._prefix = prefix
        self._generation = generation
        self._transcript = transcript
        self._tree = tree
        self._lines = 0
        self._stamps: Mapping[str, Stamp] | None = None
        self._part = 0
        self._lock = asyncio.Lock()

    async def flush(self) -> None:
        """Store what came since the last flush; returns when it is durable."""
        async with self._lock:
            length = self._transcript.length
            if length == self._lines:
                return
            name = f"{self._prefix}/{self._generation:08d}-{self._part:06d}"
            lines = await self._store.run(lambda: self._transcript.delta(self._lines))
            files, stamps = await self._store.run(self._changed_files)
            if files:
                await self._store.put(f"{name}.files.zst", files)
            await self._store.put(f"{name}.lines.zst", lines)
            self._lines, self._stamps, self._part = length, stamps, self._part + 1

    def _changed_files(self) -> tuple[bytes, Mapping[str, Stamp]]:
        try:
            return self._tree.changes(self._stamps)
        except TooManyFilesError:
            # The end of the turn says so; until then its transcript is worth recording.
            return b"", self._stamps or self._tree.marked


async def read_log(store: ObjectStore, prefix: str, session_id: str, folder: Path) -> Recorded:
    """What the latest generation recorded of this session's turn, downloaded into `folder`."""
    keys = await store.keys(f"{prefix}/")
    latest = max((_generation(key) for key in keys), default=None)
    keys = [key for key in keys if _generation(key) == latest]
    paths = [folder / key.rpartition("/")[2] for key in keys]
    await asyncio.gather(*map(store.get, keys, paths))
    entries = await store.run(lambda: _entries([p for p in paths if ".lines." in p.name]))
    main = [entry for key, entry in entries if _is_main(key, session_id)]
    kept = recorded_part(main)
    if not kept:
        return Recorded()
    others = [(key, entry) for key, entry in entries if not _is_main(key, session_id)]
    main_key = next(key for key, _ in entries if _is_main(key, session_id))
    return Recorded(
        ((main_key, kept), *((key, (entry,)) for key, entry in others)),
        tuple(path for path in paths if ".files." in path.name),
    )


def _entries(paths: list[Path]) -> list[tuple[SessionKey, Entry]]:
    found: list[tuple[SessionKey, Entry]] = []
    for path in paths:
        try:
            with path.open("rb") as stored:
                for key, lines in decode(stored):
                    found += [(key, json.loads(line)) for line in lines]
        except MalformedSegmentError as exc:
            # To start the turn again could repeat what it did: better to fail for an operator.
            raise UnavailableError("turn_log", f"{path.name}: {exc}") from exc
    return found


def _is_main(key: SessionKey, session_id: str) -> bool:
    return key["session_id"] == session_id and not key.get("subpath")


def _generation(key: str) -> int:
    return int(key.rpartition("/")[2].partition("-")[0])
