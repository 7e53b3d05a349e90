"""Deleting a chat with all its data."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from worker.adapters.aws import Aws, RefusedError
from worker.adapters.items import values
from worker.adapters.objects import ObjectStore
from worker.domain.errors import WorkerError
from worker.domain.job import JobState
from worker.domain.session import SessionHead
from worker.domain.timeline import JobDetails
from worker.operations.jobs import PAGE, JobBook
from worker.operations.places import results_prefix, sessions_prefix, turn_logs_prefix
from worker.operations.sessions import SessionBook

DELETE_BATCH = 1000
"""Keys that one DeleteObjects takes (Amazon S3)."""


@dataclass(frozen=True, slots=True)
class Holdings:
    """What there is of a chat: objects by kind, its ended jobs, and those that have not ended."""

    head: SessionHead | None
    segments: tuple[str, ...]
    turn_logs: tuple[str, ...]
    results: tuple[str, ...]
    ended: tuple[JobDetails, ...]
    open: tuple[JobDetails, ...]

    @property
    def empty(self) -> bool:
        return not (self.head or self.segments or self.turn_logs or self.ended or self.open)


class Deletion:
    """Finds what there is of a chat, and deletes it."""

    def __init__(self, aws: Aws, sessions: SessionBook, jobs: JobBook, bucket: str) -> None:
        self._aws = aws
        self._sessions = sessions
        self._jobs = jobs
        self._bucket = bucket
        self._store = ObjectStore(aws, bucket)

    async def holdings(self, session_key: str) -> Holdings:
        """What a deletion would take."""
        chat = await self._sessions.get(session_key)
        ids = [hit.job_id async for hit in self._jobs.of_chat(session_key)]
        jobs = await self._jobs.many(ids)
        segments, turn_logs, *results = await asyncio.gather(
            self._store.keys(sessions_prefix(session_key)),
            self._store.keys(turn_logs_prefix(session_key)),
            *(self._store.keys(results_prefix(job.job_id)) for job in jobs),
        )
        return Holdings(
            head=chat.head if chat else None,
            segments=tuple(segments),
            turn_logs=tuple(turn_logs),
            results=tuple(key for keys in results for key in keys),
            ended=tuple(job for job in jobs if _over(job)),
            open=tuple(job for job in jobs if not _over(job)),
        )

    async def delete(self, held: Holdings, now: float, *, force: bool = False) -> None:
        """Delete it: the chat's row first, which fences off every worker, then what it referred to.
        What a call that fails leaves behind is found by the next one.
        """
        if held.head is not None:
            await self._sessions.erase(held.head, now, force=force)
        await self._delete_objects([*held.segments, *held.turn_logs, *held.results])
        for start in range(0, len(held.ended), PAGE):
            batch = held.ended[start : start + PAGE]
            await asyncio.gather(*map(self._scrub, batch))

    async def _scrub(self, job: JobDetails) -> None:
        """Take the result out of an ended job's row. The id stays until the row expires: without
        it, a copy of the message would run again.
        """
        try:
            await self._aws.call(
                "dynamodb",
                "update_item",
                TableName=self._jobs.table,
                Key={"job_id": {"S": job.job_id}},
                UpdateExpression="REMOVE #event, error_message, history",
                ConditionExpression="attempt = :seen AND attribute_exists(published_at)",
                ExpressionAttributeNames={"#event": "event"},
                ExpressionAttributeValues=values({":seen": job.record.attempt}),
            )
        except RefusedError as exc:
            if exc.code != "ConditionalCheckFailedException":  # it runs again: no longer ours
                raise

    async def _delete_objects(self, keys: Sequence[str]) -> None:
        for start in range(0, len(keys), DELETE_BATCH):
            batch = keys[start : start + DELETE_BATCH]
            answer = await self._aws.call(
                "s3",
                "delete_objects",
                Bucket=self._bucket,
                Delete={"Objects": [{"Key": key} for key in batch], "Quiet": True},
            )
            if errors := answer.get("Errors"):
                first = errors[0]
                raise WorkerError(
                    f"{len(errors)} objects could not be deleted, such as {first.get('Key')}: "
                    f"{first.get('Code')} {first.get('Message', '')}; delete again when that is "
                    "mended (it needs s3:DeleteObject)"
                )


def _over(job: JobDetails) -> bool:
    return job.record.state is not JobState.RUNNING and job.record.published_at is not None
