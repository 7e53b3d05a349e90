"""A session's content: read from the bucket, checked, cut, renamed, and stored for another chat."""

import asyncio
import io
import json
import tempfile
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from claude_agent_sdk import SessionKey

from worker.adapters.filetree import FileTree, Limits
from worker.adapters.forking import copied
from worker.adapters.objects import ObjectStore
from worker.adapters.segments import MalformedSegmentError, decode, encode, restore
from worker.adapters.spool import spooled
from worker.domain.dialogue import entries_until, turn_starts
from worker.domain.errors import StateDamagedError, WorkerError
from worker.domain.resume import Entry
from worker.domain.session import Segment, SessionHead
from worker.operations.archive import Archive
from worker.operations.places import sessions_prefix

Line = tuple[SessionKey, Entry]
"""An entry of a transcript and whose it is: the session's own, or a subagent's."""


_NO_LIMITS = Limits(files=10**9, size=1 << 50)
"""What was committed was within the worker's limits, which are not known here."""


class ContentError(WorkerError):
    """A session that cannot be used as it is asked for."""


@dataclass(frozen=True, slots=True)
class Forked:
    """A session that was cut from another one. `with_files` tells whether it has the workspace."""

    content: Archive
    turns: int
    with_files: bool


async def download(store: ObjectStore, head: SessionHead, exported_at: str = "") -> Archive:
    """The committed session of a chat. Raises StateDamagedError, and ContentError without one."""
    if head.session_id is None:
        raise ContentError(f"chat {head.session_key} has no session: nothing was committed yet")
    with tempfile.TemporaryDirectory(prefix="agent-worker-") as folder:

        async def fetched(number: int, segment: Segment) -> bytes:
            target = Path(folder) / str(number)
            await store.fetch(segment, target)
            return target.read_bytes()

        stored = await asyncio.gather(
            *(fetched(n, segment) for n, segment in enumerate((*head.segments, *head.files)))
        )
    lines = len(head.segments)
    return Archive(
        session_key=head.session_key,
        session_id=head.session_id,
        lines=tuple(stored[:lines]),
        files=tuple(stored[lines:]),
        turns=head.turns,
        cost_usd=head.cost_usd,
        exported_at=exported_at,
    )


def lines_of(content: Archive) -> list[Line]:
    """Every entry, in the order it was written. Raises StateDamagedError."""
    found: list[Line] = []
    try:
        for stored in content.lines:
            for key, lines in decode(io.BytesIO(stored)):
                found += [(key, json.loads(line)) for line in lines]
    except (MalformedSegmentError, ValueError) as exc:
        raise StateDamagedError("corrupt", f"transcript of {content.session_key}: {exc}") from exc
    return found


def main_entries(content: Archive) -> list[Entry]:
    """The session's own entries, without its subagents'."""
    return [entry for key, entry in lines_of(content) if not key.get("subpath")]


def check(content: Archive) -> None:
    """Restore it, as a worker would, into a directory that is removed: raises StateDamagedError
    for what a worker would not take.
    """
    if not main_entries(content):
        raise StateDamagedError("corrupt", f"the transcript of {content.session_id} is empty")
    with _restored(content):
        pass


def forked(content: Archive, turn: int | None, *, with_files: bool | None) -> Forked:
    """The session up to and with a turn, as one of its own. Raises ContentError.

    Of the files of the workspace only the latest state is kept, so a fork from an earlier turn has
    them only if it is asked for; large tool results, which the transcript refers to, always go with
    it.
    """
    lines = lines_of(content)
    main = [n for n, (key, _) in enumerate(lines) if not key.get("subpath")]
    entries = [lines[n][1] for n in main]
    turns = len(turn_starts(entries))
    wanted = turns if turn is None else turn
    if not 1 <= wanted <= turns:
        raise ContentError(f"turn {wanted} is not there: the session has turns 1 to {turns}")
    kept = len(entries_until(entries, wanted))
    end = main[kept] if kept < len(main) else len(lines)
    with_workspace = wanted == turns if with_files is None else with_files
    cut = replace(content, lines=(_encoded(lines[:end]),))
    if not with_workspace:
        cut = replace(cut, files=_without_workspace(content))
    return Forked(renamed(cut), wanted, with_workspace)


def renamed(content: Archive) -> Archive:
    """The same conversation as a session of another id: two chats never share one."""
    session_id = str(uuid.uuid4())
    stored = map(io.BytesIO, content.lines)
    try:
        lines = b"".join(copied(stored, content.session_id, session_id))
    except MalformedSegmentError as exc:
        raise StateDamagedError("corrupt", f"transcript of {content.session_key}: {exc}") from exc
    return replace(content, session_id=session_id, lines=(lines,))


async def upload(
    store: ObjectStore, content: Archive, target: SessionHead, now: float
) -> tuple[tuple[Segment, ...], tuple[Segment, ...]]:
    """Store the content for a chat; returns its manifest. Nothing refers to it yet."""
    folder = f"{sessions_prefix(target.session_key)}{content.session_id}"
    # A name that no claim uses, whatever happens meanwhile.
    name = f"{target.generation + 1:08d}-{uuid.uuid4().hex[:12]}"

    async def stored(kind: str, parts: Sequence[bytes]) -> tuple[Segment, ...]:
        segments = []
        for n, data in enumerate(parts):
            with spooled(Path(tempfile.gettempdir())) as spool:
                spool.write(data)
                if data:
                    segments.append(await store.seal(f"{folder}/{name}-{n}.{kind}.zst", spool, now))
        return tuple(segments)

    lines, files = await asyncio.gather(
        stored("lines", content.lines), stored("files", content.files)
    )
    return lines, files


def _encoded(lines: Sequence[Line]) -> bytes:
    """One frame; neighbours of one transcript are one part of it."""
    parts: list[tuple[SessionKey, list[str]]] = []
    for key, entry in lines:
        # As compact as the CLI writes them: it finds some of its entries by their first bytes.
        text = json.dumps(entry, separators=(",", ":"))
        if parts and parts[-1][0] == key:
            parts[-1][1].append(text)
        else:
            parts.append((key, [text]))
    return encode([(key, ("\n".join(texts) + "\n").encode()) for key, texts in parts])


def _without_workspace(content: Archive) -> tuple[bytes, ...]:
    with _restored(content) as roots:
        kept = FileTree({"session": roots["session"]}, _NO_LIMITS).everything()
    return (kept,) if kept else ()


@contextmanager
def _restored(content: Archive) -> Iterator[dict[str, Path]]:
    """Its files on the local disk, for as long as the context lasts."""
    with tempfile.TemporaryDirectory(prefix="agent-worker-") as name:
        folder = Path(name)
        stored = [folder / f"lines-{n}" for n in range(len(content.lines))]
        for path, data in zip(stored, content.lines, strict=True):
            path.write_bytes(data)
        roots = {part: folder / "roots" / part for part in ("workspace", "session")}
        for root in roots.values():
            root.mkdir(parents=True)
        tree = FileTree(roots, _NO_LIMITS)
        try:
            restore(stored, folder / "projects", "project")
            for data in content.files:
                tree.apply(io.BytesIO(data))
        except MalformedSegmentError as exc:
            raise StateDamagedError("corrupt", f"{content.session_key}: {exc}") from exc
        yield roots
