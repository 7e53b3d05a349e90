"""The agent SDK's `SessionStore` over committed segments and the turn's own entries."""

import asyncio
import io
import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import IO

from claude_agent_sdk import (
    SessionKey,
    SessionListSubkeysKey,
    SessionStoreEntry,
    SessionStoreListEntry,
)

from worker.adapters.segments import Parts, decode, write
from worker.domain.compaction import is_boundary, preserved
from worker.domain.resume import Entry, tool_calls

PROCESS_ENTRIES = frozenset({"cost-state"})
"""Entries about the process that wrote them. A resumed CLI would add its cost to the one that
`cost-state` carries, and the job's cost would be the whole conversation's."""

PART_BYTES = 1024 * 1024
"""When a part that is written line by line is full."""


class Transcript:
    """What was committed (segment files on local disk) and what this turn appends.

    Appending keeps the entries in memory as JSON lines; `delta` compresses them for the commit, so
    that nothing is stored that no turn has concluded. What is committed is read as a stream, a line
    at a time, however long the conversation. Retried appends are recognized by `uuid`, as the SDK
    asks. One instance belongs to one process of the CLI, over its turns; `now_ms` is the time that
    listings report.
    """

    def __init__(self, committed: Sequence[Path] = (), now_ms: int = 0) -> None:
        self._committed = tuple(committed)
        self._appended: list[tuple[SessionKey, bytes]] = []
        self._seen: set[tuple[str, str, str, str]] = set()
        self._calls: dict[str, asyncio.Event] = {}
        self._now_ms = now_ms
        self._boundary: Entry | None = None

    async def append(self, key: SessionKey, entries: list[SessionStoreEntry]) -> None:
        self.add(key, entries)

    def add(self, key: SessionKey, entries: Iterable[Entry]) -> None:
        """Like `append`, for entries of an earlier attempt too."""
        lines = []
        for entry in entries:
            if entry["type"] in PROCESS_ENTRIES or self._repeated(key, entry):
                continue
            # As compact as the CLI writes them: it finds some of its entries by their first bytes.
            lines.append(json.dumps(entry, separators=(",", ":")))
            for call in tool_calls(entry):
                self._call(call).set()
            if is_boundary(entry) and not key.get("subpath"):
                self._boundary = entry
        if lines:
            self._appended.append((key, ("\n".join(lines) + "\n").encode()))

    async def load(self, key: SessionKey) -> list[SessionStoreEntry] | None:
        wanted = _place(key)
        entries = [
            json.loads(line)
            for found, lines in self._parts()
            if _place(found) == wanted
            for line in lines
        ]
        return entries or None

    async def list_sessions(self, project_key: str) -> list[SessionStoreListEntry]:
        found = {
            key["session_id"]
            for key, _ in self._parts()
            if key["project_key"] == project_key and not key.get("subpath")
        }
        return [{"session_id": session, "mtime": self._now_ms} for session in sorted(found)]

    async def list_subkeys(self, key: SessionListSubkeysKey) -> list[str]:
        found = {
            part.get("subpath") or ""
            for part, _ in self._parts()
            if part["project_key"] == key["project_key"] and part["session_id"] == key["session_id"]
        }
        return sorted(found - {""})

    def last_uuid(self, key: SessionKey) -> str | None:
        """Of the last entry so far that was said: the next one follows it."""
        last = None
        for found, lines in self._parts():
            if _place(found) == _place(key):
                for line in lines:
                    last = json.loads(line).get("uuid") or last
        return None if last is None else str(last)

    async def has_call(self, tool_use_id: str) -> None:
        """Wait until the entry with this tool call has arrived."""
        await self._call(tool_use_id).wait()

    @property
    def length(self) -> int:
        """How many batches the turn has appended."""
        return len(self._appended)

    def rebase(self, committed: Sequence[Path], appended: int) -> None:
        """The first `appended` batches are in `committed` now; what came later is the next
        turn's.
        """
        self._committed = tuple(committed)
        del self._appended[:appended]
        self._boundary = None
        self._seen.clear()
        self._calls.clear()

    def delta(self, out: IO[bytes], since: int = 0) -> None:
        """Write the turn's own entries, from batch `since` on, as one compressed frame; nothing
        when there are none.
        """
        write(self._appended[since:], out)

    def trimmed(self, out: IO[bytes]) -> bool:
        """Write all that the session needs from now on, committed or not, when the conversation was
        summed up in this turn; False when it was not, or nothing can be left out.
        """
        kept = None if self._boundary is None else preserved(self._boundary)
        if self._boundary is None or kept is None:
            return False
        write(_needed(self._parts(), str(self._boundary["uuid"]), kept), out)
        return True

    def _call(self, tool_use_id: str) -> asyncio.Event:
        return self._calls.setdefault(tool_use_id, asyncio.Event())

    def _parts(self) -> Iterator[tuple[SessionKey, IO[bytes]]]:
        """Each stream is to be read before the next part."""
        appended = self._appended.copy()
        for path in self._committed:
            with path.open("rb") as source:
                yield from decode(source)
        for key, lines in appended:
            yield key, io.BytesIO(lines)

    def _repeated(self, key: SessionKey, entry: Entry) -> bool:
        uuid = entry.get("uuid")
        if not uuid:
            return False
        mark = (*_place(key), uuid)
        if mark in self._seen:
            return True
        self._seen.add(mark)
        return False


def _needed(
    parts: Iterable[tuple[SessionKey, IO[bytes]]], boundary: str, kept: frozenset[str]
) -> Parts:
    """The lines that are still needed, byte for byte: a subagent's all, and of the conversation
    what the boundary keeps, itself, and what follows it.
    """
    reached = False
    for key, lines in parts:
        left, size = [], 0
        for line in lines:
            if not (reached or key.get("subpath")):
                uuid = json.loads(line).get("uuid")
                reached = uuid == boundary
                if not reached and uuid not in kept:
                    continue
            left.append(line)
            size += len(line)
            if size >= PART_BYTES:
                yield key, b"".join(left)
                left, size = [], 0
        if left:
            yield key, b"".join(left)


def _place(key: SessionKey) -> tuple[str, str, str]:
    return key["project_key"], key["session_id"], key.get("subpath") or ""
