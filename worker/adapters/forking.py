"""A session's transcript as one of another id: two chats never share one."""

import json
from collections.abc import Iterable, Iterator
from typing import IO

from claude_agent_sdk import SessionKey

from worker.adapters.segments import MalformedSegmentError, decode, encode
from worker.domain.resume import in_session

BATCH = 1024 * 1024
"""Bytes of lines that are held in memory, and become one frame."""


def copied(stored: Iterable[IO[bytes]], source: str, target: str) -> Iterator[bytes]:
    """Frames with the entries of the session `source`, as ones of `target`. Raises
    MalformedSegmentError.
    """
    for segment in stored:
        for key, lines in decode(segment):
            if key["session_id"] == source:
                renamed: SessionKey = {**key, "session_id": target}
                for batch in _batches(lines, target):
                    yield encode([(renamed, batch)])


def _batches(lines: Iterable[bytes], session_id: str) -> Iterator[bytes]:
    batch = bytearray()
    for line in lines:
        try:
            entry = in_session(json.loads(line), session_id)
        except (ValueError, RecursionError) as exc:
            raise MalformedSegmentError(str(exc)) from exc
        # As compact as the CLI writes them: it finds some of its entries by their first bytes.
        batch += json.dumps(entry, separators=(",", ":")).encode() + b"\n"
        if len(batch) >= BATCH:
            yield bytes(batch)
            batch.clear()
    if batch:
        yield bytes(batch)
