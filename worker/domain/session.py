"""The committed state of one chat, and which session its next turn uses."""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

SessionStatus = Literal["new", "continued", "forked", "reset"]


@dataclass(frozen=True, slots=True)
class Segment:
    """One immutable, compressed piece of transcript in the session bucket.

    `size` is in bytes as stored; `sha256` is the hex digest of those bytes; `written_at` is in
    epoch seconds, because the bucket's lifecycle counts from the writing of an object.
    """

    key: str
    size: int
    sha256: str
    written_at: float


@dataclass(frozen=True, slots=True)
class Lease:
    """Who works on the chat, on which job, until when (epoch seconds)."""

    owner: str
    job_id: str
    expires_at: float

    def live(self, now: float) -> bool:
        return now < self.expires_at


@dataclass(frozen=True, slots=True)
class SessionHead:
    """The chat's row in SESSION_TABLE.

    `generation` is the fencing token: +1 at each claim. `version` is +1 at each commit.
    `expires_at` (epoch seconds) is when the session ends unless a turn is committed before.
    """

    session_key: str
    generation: int = 0
    version: int = 0
    session_id: str | None = None
    segments: tuple[Segment, ...] = ()
    files: tuple[Segment, ...] = ()
    lease: Lease | None = None
    turns: int = 0
    cost_usd: float = 0.0
    expires_at: float = 0.0


@dataclass(frozen=True, slots=True)
class SessionPlan:
    """The session a turn runs in: a committed one to restore, or a new id.

    A fork is both: a new id that begins with the `segments` and `files` of the session `source_id`,
    which are another chat's.
    """

    session_id: str
    status: SessionStatus
    segments: tuple[Segment, ...] = ()
    files: tuple[Segment, ...] = ()
    note: str | None = None
    source_id: str | None = None


def plan_session(
    head: SessionHead, job_id: str, request: str, now: float, source: SessionHead | None = None
) -> SessionPlan:
    """Continue the committed session, unless there is none, it has expired or a new one is asked.
    A fork begins with what `source` is now.

    DynamoDB deletes expired rows up to days late, so an expired row is treated as gone here.
    """
    if request == "fork":
        new_id = _session_id(head.session_key, job_id)
        if source is None or source.session_id is None or not forkable(source, None, now):
            # It was there when the job began (see `forkable`), and is not for a later attempt.
            return SessionPlan(new_id, "reset", note="the session to be forked has ended")
        return SessionPlan(
            new_id, "forked", source.segments, source.files, source_id=source.session_id
        )
    if head.session_id is None or request == "new":
        return SessionPlan(_session_id(head.session_key, job_id), "new")
    if head.expires_at <= now:
        new_id = _session_id(head.session_key, job_id)
        return SessionPlan(new_id, "reset", note="the previous session had expired")
    return SessionPlan(head.session_id, "continued", head.segments, head.files)


def forkable(source: SessionHead | None, session_id: str | None, now: float) -> bool:
    """Whether a chat has a session that can be forked, and the one that is asked for, if any is."""
    if source is None or source.session_id is None or source.expires_at <= now:
        return False
    return session_id in {None, source.session_id}


def reset_session(plan: SessionPlan, job_id: str, reason: str) -> SessionPlan:
    """A session whose files are gone or corrupt starts anew, and the result says so."""
    damaged = plan.source_id or plan.session_id
    note = f"the files of session {damaged} are {reason}; a new session was started"
    return SessionPlan(_session_id(plan.session_id, job_id), "reset", note=note)


def _session_id(*parts: str) -> str:
    """A new session's id follows from its first job, so that every attempt of that job finds what
    an earlier one has left.
    """
    return str(uuid.uuid5(uuid.NAMESPACE_OID, "\n".join(parts)))


def merge_from(sizes: Sequence[int], delta: int, limit: int) -> int:
    """Index of the first committed segment that the new segment swallows.

    Segments grow geometrically, as levels of a log-structured merge tree do: a segment is
    merged when it is no larger than twice what is being written, or when there would be more
    than `limit`. So a restore reads at most `limit` objects, a commit writes one, and each byte
    is rewritten O(log n) times. `len(sizes)` means that nothing is merged.
    """
    first, pending = len(sizes), delta
    while first > 0 and (first >= limit or sizes[first - 1] <= 2 * pending):
        first -= 1
        pending += sizes[first]
    return first
