"""The agent SDK's `SessionStore` over committed segments and the turn's own entries."""

import json
from collections.abc import Sequence
from pathlib import Path

from claude_agent_sdk import (
    SessionKey,
    SessionListSubkeysKey,
    SessionStoreEntry,
    SessionStoreListEntry,
)

from worker.adapters.segments import decode, encode

PROCESS_ENTRIES = frozenset({"cost-state"})
"""Entries about the process that wrote them. A resumed CLI would add its cost to the one that
`cost-state` carries, and the job's cost would be the whole conversation's."""


class Transcript:
    """What was committed (segment files on local disk) and what this turn appends.

    Appending keeps the entries in memory as JSON lines; `delta` compresses them for the commit, so
    that nothing is stored that no turn has concluded. Retried appends are recognized by `uuid`, as
    the SDK asks. One instance belongs to one turn; `now_ms` is the time that listings report.
    """

    def __init__(self, committed: Sequence[Path] = (), now_ms: int = 0) -> None:
        self._committed = tuple(committed)
        self._appended: list[tuple[SessionKey, bytes]] = []
        self._seen: set[tuple[str, str, str, str]] = set()
        self._now_ms = now_ms

    async def append(self, key: SessionKey, entries: list[SessionStoreEntry]) -> None:
        lines = [
            # As compact as the CLI writes them: it finds some of its entries by their first bytes.
            json.dumps(entry, separators=(",", ":"))
            for entry in entries
            if entry["type"] not in PROCESS_ENTRIES and not self._repeated(key, entry)
        ]
        if lines:
            self._appended.append((key, ("\n".join(lines) + "\n").encode()))

    async def load(self, key: SessionKey) -> list[SessionStoreEntry] | None:
        wanted = _place(key)
        entries = [
            json.loads(line)
            for found, lines in self._parts()
            if _place(found) == wanted
            for line in lines.splitlines()
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

    def delta(self) -> bytes:
        """The turn's own entries as one compressed frame."""
        return encode(self._appended)

    def _parts(self) -> list[tuple[SessionKey, bytes]]:
        parts: list[tuple[SessionKey, bytes]] = []
        for path in self._committed:
            with path.open("rb") as source:
                parts.extend((key, lines.read()) for key, lines in decode(source))
        return parts + self._appended

    def _repeated(self, key: SessionKey, entry: SessionStoreEntry) -> bool:
        uuid = entry.get("uuid")
        if not uuid:
            return False
        mark = (*_place(key), uuid)
        if mark in self._seen:
            return True
        self._seen.add(mark)
        return False


def _place(key: SessionKey) -> tuple[str, str, str]:
    return key["project_key"], key["session_id"], key.get("subpath") or ""
