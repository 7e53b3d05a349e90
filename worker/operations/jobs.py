"""Finding jobs: by state, chat, tenant and age, the newest first."""

import asyncio
import re
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from contracts.addressing import JOB_ID_PATTERN
from contracts.control import cancel_item, cancel_request, control_key
from worker.adapters.aws import Aws
from worker.adapters.items import plain, record_of, values
from worker.adapters.jobindex import (
    CHAT,
    ENDED,
    SHARDS,
    UNFINISHED,
    ended_partition,
    unfinished_partition,
)
from worker.domain.timeline import JobDetails, Note

DAY = 86400.0

MAX_LOOKED_AT = 20_000
"""Jobs that one list looks at, so that a filter that fits nothing ends. The next page goes on."""

MAX_DAYS = 366

PAGE = 100
"""Items of a query, and DynamoDB's limit of a BatchGetItem."""

_T = TypeVar("_T")

_LISTED = (
    *("job_id", "session_key", "tenant_id", "chat_id", "thread_id", "state", "outcome"),
    *("attempt", "first_attempt", "generation", "slices", "spent", "error_code", "error_message"),
    *("created_at", "updated_at", "claimed_at", "ended_at", "published_at", "history"),
    *("session_id", "cost_usd", "num_turns", "owner"),
)
"""Everything but the event, which is the largest part of a row by far."""


@dataclass(frozen=True, slots=True)
class JobFilter:
    """Which jobs; None means any. `states` as JobState has them; `chat` is a session key; `since`
    and `before` are epoch seconds of the last change, or of the creation when a chat is given.
    """

    states: frozenset[str] | None = None
    chat: str | None = None
    tenant: str | None = None
    error_code: str | None = None
    since: float = 0.0
    before: float | None = None

    def may_fit(self, row: Mapping[str, Any]) -> bool:
        """Whether a row of an index can be of a job that fits, by what it holds: only the one of
        ended jobs tells more than their ids.
        """
        if "outcome" not in row:
            return True
        if self.tenant and not row.get("session_key", "").startswith(f"{self.tenant}/"):
            return False
        if self.error_code and row.get("error_code") != self.error_code:
            return False
        if self.states is None:
            return True
        wanted = {"completed"} if self.states & {"answered", "published"} else set()
        return row["outcome"] in wanted | self.states

    def fits(self, job: JobDetails) -> bool:
        record = job.record
        return (
            (self.states is None or record.state.value in self.states)
            and (self.tenant is None or job.chat.startswith(f"{self.tenant}/"))
            and (self.error_code is None or record.error_code == self.error_code)
        )


@dataclass(frozen=True, slots=True)
class Position:
    """Where a page ends: the next one begins behind it."""

    at: float
    job_id: str

    def __str__(self) -> str:
        return f"{self.at!r}~{self.job_id}"

    @classmethod
    def parse(cls, text: str) -> "Position":
        """Raises ValueError."""
        at, _, job_id = text.partition("~")
        return cls(float(at), job_id)


@dataclass(frozen=True, slots=True)
class Page:
    """Jobs, the newest first, and where to go on; None at the end."""

    jobs: tuple[JobDetails, ...]
    next: Position | None


@dataclass(frozen=True, slots=True)
class Hit:
    """A row of an index: its sort key, and whatever else it holds."""

    at: float
    job_id: str
    row: Mapping[str, Any]

    @property
    def key(self) -> tuple[float, str]:
        return self.at, self.job_id


class JobBook:
    """Reads JOB_TABLE."""

    def __init__(self, aws: Aws, job_table: str) -> None:
        self._aws = aws
        self.table = job_table

    async def get(self, job_id: str) -> JobDetails | None:
        """The job, with its event, and whether somebody has asked to cancel it."""
        if not is_job_id(job_id):
            return None
        row, control = await asyncio.gather(
            *(
                self._aws.call(
                    "dynamodb", "get_item", TableName=self.table, Key=key, ConsistentRead=True
                )
                for key in ({"job_id": {"S": job_id}}, control_key(job_id))
            )
        )
        if "Item" not in row:
            return None
        job = details_of(row["Item"])
        # A row of control lives longer than its job runs: what it asked for is told to the end.
        return replace(job, cancel=cancel_request(control.get("Item"), 0.0))

    async def cancel(self, job_id: str, now: float, requested_by: str) -> None:
        """Ask for the job to be cancelled; what becomes of it is in its own row."""
        item = cancel_item(job_id, now, requested_by)
        await self._aws.call("dynamodb", "put_item", TableName=self.table, Item=item)

    async def find(
        self, wanted: JobFilter, now: float, limit: int, after: Position | None = None
    ) -> Page:
        """One page of jobs."""
        found: list[tuple[Hit, JobDetails]] = []
        waiting: dict[str, Hit] = {}
        looked_at = 0
        async for hit in self._hits(wanted, now, after):
            looked_at += 1
            if wanted.may_fit(hit.row):
                waiting.setdefault(hit.job_id, hit)
            if len(waiting) < min(limit + 1, PAGE) and looked_at < MAX_LOOKED_AT:
                continue
            found += await self._fitting(waiting, wanted)
            waiting = {}
            if len(found) > limit:
                break
            if looked_at >= MAX_LOOKED_AT:
                return Page(tuple(job for _, job in found), Position(hit.at, hit.job_id))
        found += await self._fitting(waiting, wanted)
        kept = found[:limit]
        last = kept[-1][0] if len(found) > limit else None
        return Page(tuple(job for _, job in kept), Position(last.at, last.job_id) if last else None)

    async def running(self, now: float) -> AsyncIterator[JobDetails]:
        """The jobs that have not ended, the latest change first."""
        async for batch in _batched(self._unfinished("running", now + DAY), PAGE):
            for job in await self.many([hit.job_id for hit in batch]):
                if job.outcome is None:
                    yield job

    async def count_unpublished(self, now: float) -> int:
        """Outcomes that are committed and not handed over yet."""
        total = 0
        async for _ in self._unfinished("unpublished", now + DAY):
            total += 1
        return total

    async def ended(self, since: float, until: float) -> AsyncIterator[Hit]:
        """Rows of the index of ended jobs, the latest end first: a year back at most."""
        day, since = until, max(since, until - MAX_DAYS * DAY)
        while True:
            async for hit in self._merged(
                [
                    self._query(ENDED, "ended", ended_partition(day, n), "ended_at", since, until)
                    for n in range(SHARDS)
                ]
            ):
                yield hit
            if day // DAY <= since // DAY:
                return
            day -= DAY

    async def of_chat(
        self, session_key: str, since: float = 0.0, until: float = 1e11
    ) -> AsyncIterator[Hit]:
        """The jobs of a chat, the latest created first."""
        async for hit in self._query(CHAT, "session_key", session_key, "created_at", since, until):
            yield hit

    async def many(self, job_ids: Sequence[str]) -> list[JobDetails]:
        """These jobs, without their events, in this order; those that are gone are left out."""
        found: dict[str, JobDetails] = {}
        for start in range(0, len(job_ids), PAGE):
            keys = [{"job_id": {"S": job_id}} for job_id in job_ids[start : start + PAGE]]
            request: Any = {
                self.table: {
                    "Keys": keys,
                    "ConsistentRead": True,
                    "ProjectionExpression": ", ".join(f"#{name}" for name in _LISTED),
                    "ExpressionAttributeNames": {f"#{name}": name for name in _LISTED},
                }
            }
            while request:
                answer = await self._aws.call("dynamodb", "batch_get_item", RequestItems=request)
                for item in answer["Responses"].get(self.table, []):
                    job = details_of(item)
                    found[job.job_id] = job
                request = answer.get("UnprocessedKeys")
        return [found[job_id] for job_id in job_ids if job_id in found]

    async def _fitting(
        self, hits: Mapping[str, Hit], wanted: JobFilter
    ) -> list[tuple[Hit, JobDetails]]:
        jobs = await self.many(list(hits))
        return [(hits[job.job_id], job) for job in jobs if wanted.fits(job)]

    async def _hits(
        self, wanted: JobFilter, now: float, after: Position | None
    ) -> AsyncIterator[Hit]:
        """What can fit, newest first, behind the position."""
        until = min(
            now + DAY if wanted.before is None else wanted.before, after.at if after else 1e11
        )
        if wanted.chat is not None:
            stream = self.of_chat(wanted.chat, wanted.since, until)
        else:
            streams = []
            if wanted.states is None or "running" in wanted.states:
                streams.append(self._unfinished("running", until, wanted.since))
            if wanted.states is None or wanted.states - {"running"}:
                streams.append(self.ended(wanted.since, until))
            stream = self._merged(streams)
        async for hit in stream:
            if after is None or hit.key < (after.at, after.job_id):
                yield hit

    def _unfinished(self, state: str, until: float, since: float = 0.0) -> AsyncIterator[Hit]:
        return self._merged(
            [
                self._query(
                    UNFINISHED,
                    "unfinished",
                    unfinished_partition(state, shard),
                    "updated_at",
                    since,
                    until,
                )
                for shard in range(SHARDS)
            ]
        )

    async def _query(
        self, index: str, hash_name: str, partition: str, sort: str, since: float, until: float
    ) -> AsyncIterator[Hit]:
        start: dict[str, Any] = {}
        while True:
            answer = await self._aws.call(
                "dynamodb",
                "query",
                TableName=self.table,
                IndexName=index,
                KeyConditionExpression=f"{hash_name} = :partition "
                f"AND {sort} BETWEEN :since AND :until",
                ExpressionAttributeValues=values(
                    {":partition": partition, ":since": since, ":until": until}
                ),
                ScanIndexForward=False,
                Limit=PAGE,
                **start,
            )
            for item in answer["Items"]:
                row = plain(item)
                yield Hit(float(row[sort]), row["job_id"], row)
            if "LastEvaluatedKey" not in answer:
                return
            start = {"ExclusiveStartKey": answer["LastEvaluatedKey"]}

    async def _merged(self, streams: Sequence[AsyncIterator[Hit]]) -> AsyncIterator[Hit]:
        """One stream of several that descend."""
        heads = list(await asyncio.gather(*(anext(stream, None) for stream in streams)))
        while True:
            alive = [(hit.key, n) for n, hit in enumerate(heads) if hit is not None]
            if not alive:
                return
            _, latest = max(alive)
            hit = heads[latest]
            if hit is not None:
                yield hit
            heads[latest] = await anext(streams[latest], None)


def is_job_id(text: str) -> bool:
    """Rows of other keys, such as those with a "#", are not jobs."""
    return re.fullmatch(JOB_ID_PATTERN, text) is not None


def details_of(item: Mapping[str, Any]) -> JobDetails:
    """A row of JOB_TABLE, as DynamoDB returns it."""
    row = plain(item)
    record = record_of(item)
    return JobDetails(
        record=record,
        tenant_id=row.get("tenant_id"),
        chat_id=row.get("chat_id"),
        thread_id=row.get("thread_id"),
        session_id=row.get("session_id"),
        outcome=row.get("outcome"),
        ended_at=_optional(row.get("ended_at"), float),
        cost_usd=float(row.get("cost_usd", record.spent.cost_usd)),
        num_turns=int(row.get("num_turns", record.spent.num_turns)),
        owner=row.get("owner"),
        notes=tuple(
            Note(float(n["at"]), n["what"], n["by"], n["letter"], n["detail"])
            for n in row.get("notes", [])
        ),
    )


def _optional(value: Any, kind: Callable[[Any], _T]) -> _T | None:  # noqa: ANN401 - of a row
    return None if value is None else kind(value)


async def _batched(stream: AsyncIterator[Hit], size: int) -> AsyncIterator[list[Hit]]:
    batch: list[Hit] = []
    async for hit in stream:
        batch.append(hit)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch
