"""Which chats are held, by which job, since when, and when they are free again."""

import asyncio
from dataclasses import dataclass
from typing import Literal

from worker.domain.session import Lease, SessionHead
from worker.domain.timeline import JobDetails
from worker.operations.jobs import JobBook
from worker.operations.sessions import SessionBook

Why = Literal["working", "retrying", "cut_off", "moved_on"]


@dataclass(frozen=True, slots=True)
class Held:
    """A chat whose messages wait for a job. Times are epoch seconds.

    `why`: "working" (a worker has its lease), "retrying" (its last attempt failed, its message
    comes back after a backoff), "cut_off" (the worker died; the message comes back as its
    visibility ends), "moved_on" (the chat was taken by another job since: a replay may be needed).
    `free_at` is known only while there is a lease, and moves as it is renewed.
    """

    job: JobDetails
    why: Why
    since: float
    lease: Lease | None

    @property
    def free_at(self) -> float | None:
        return self.lease.expires_at if self.lease else None


async def held_chats(jobs: JobBook, sessions: SessionBook, now: float) -> list[Held]:
    """Every chat with a job that has not ended, the longest held first."""
    running = [job async for job in jobs.running(now)]
    limit = asyncio.Semaphore(16)

    async def held(job: JobDetails) -> Held:
        async with limit:
            chat = await sessions.get(job.chat)
        return standing(job, chat.head if chat else SessionHead(job.chat), now)

    return sorted(await asyncio.gather(*map(held, running)), key=lambda item: item.since)


def standing(job: JobDetails, head: SessionHead, now: float) -> Held:
    """How a job that has not ended holds its chat."""
    since, lease = job.record.created_at, head.lease
    if lease is not None and lease.job_id == job.job_id:
        return Held(job, "working" if lease.live(now) else "cut_off", since, lease)
    if head.generation > job.record.generation:
        return Held(job, "moved_on", since, None)
    return Held(job, "retrying", since, None)
