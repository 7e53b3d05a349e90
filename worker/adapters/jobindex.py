"""The indexes of JOB_TABLE: by which attributes jobs are found, other than by their id.

An index is spread over shards, because one partition of it takes 1,000 writes a second and would
hold back the table. What a job's row writes into each, in its life:

    unfinished  running and unpublished jobs, keys only     at each step, gone with the publication
    ended       by the day (UTC) of the end                 one write; nothing in it changes later
    chat        by chat and creation, keys only             one write
"""

import zlib
from datetime import UTC, datetime

SHARDS = 4

UNFINISHED = "unfinished"
ENDED = "ended"
CHAT = "chat"


def unfinished_partition(state: str, shard: int) -> str:
    """Jobs that are "running", or "unpublished"."""
    return f"{state}#{shard}"


def ended_partition(time: float, shard: int) -> str:
    """Jobs that ended on the day (UTC) of a time in epoch seconds."""
    return f"{datetime.fromtimestamp(time, UTC):%Y-%m-%d}#{shard}"


def unfinished_row(state: str, job_id: str) -> str:
    """The value of `unfinished` in a job's row."""
    return unfinished_partition(state, _shard(job_id))


def ended_row(outcome: str, job_id: str, now: float) -> dict[str, object]:
    """What an ended job's row has beside its state: `outcome` is completed, failed, rejected or
    cancelled, and stays what it is when the job is published.
    """
    return {
        "ended": ended_partition(now, _shard(job_id)),
        "ended_at": now,
        "outcome": outcome,
    }


ENDED_ATTRIBUTES = ("ended", "ended_at", "outcome")
"""What a job that runs again no longer has."""


def _shard(job_id: str) -> int:
    return zlib.crc32(job_id.encode()) % SHARDS
