"""JOB_TABLE and SESSION_TABLE on DynamoDB: claim, commit and fence as conditional writes.

Every claim and every end of one is a single TransactWriteItems over both rows, conditional on the
generation, so that the two can never disagree. The lease lives in the session's row alone: a job
belongs to one chat, so one lease serves both and the heartbeat is one small write.
"""

import asyncio
import uuid
from collections.abc import Mapping, Sequence
from typing import Any

from contracts.control import CancelRequest, cancel_request, control_key
from worker.adapters.aws import Aws, RefusedError
from worker.adapters.items import (
    head_of,
    history_rows,
    plain,
    record_of,
    segment_row,
    spent_row,
    update_of,
    values,
)
from worker.adapters.jobindex import (
    ENDED_ATTRIBUTES,
    SHARDS,
    UNFINISHED,
    ended_row,
    unfinished_partition,
    unfinished_row,
)
from worker.domain.claim import Claim, ClaimResult, Run, claim_of, decide_claim
from worker.domain.errors import LeaseLostError, UnavailableError
from worker.domain.job import Job, JobRecord, JobState
from worker.domain.session import SessionHead
from worker.ports import Commit, Pause

ROW_MARGIN_SECONDS = 86400.0
"""DynamoDB's TTL deletes a chat's row so much later than its session ends."""

CLAIM_RACES = 4
"""How often a claim is decided anew because somebody else wrote first."""


class DynamoLedger:
    """The ledger on DynamoDB."""

    def __init__(
        self, aws: Aws, job_table: str, session_table: str, job_ttl_seconds: float
    ) -> None:
        self._aws = aws
        self._jobs = job_table
        self._sessions = session_table
        self._job_ttl = job_ttl_seconds

    async def claim(self, job: Job, owner: str, now: float, lease_seconds: float) -> ClaimResult:
        for _ in range(CLAIM_RACES):
            record, head, cancel, source = await self._read(job, now)
            standing = decide_claim(job, record, head, now, cancel, source)
            if not isinstance(standing, Run):
                return standing
            claim = claim_of(job, owner, standing, record, head, now, source)
            # A request that is not heeded now was for a job that had ended: nor shall it be later.
            forgotten = [] if standing.cancel == cancel else [self._heeded(job)]
            if await self._write_claim(claim, record, now, lease_seconds, forgotten):
                return claim
        raise UnavailableError("dynamodb", f"claim of {job.job_id} lost {CLAIM_RACES} races")

    async def _read(
        self, job: Job, now: float
    ) -> tuple[JobRecord | None, SessionHead, CancelRequest | None, SessionHead | None]:
        rows = [
            (self._jobs, _job_key(job.job_id)),
            (self._sessions, _session_key(job.session_key)),
            (self._jobs, control_key(job.job_id)),
        ]
        source = job.source_key
        if source is not None:
            rows.append((self._sessions, _session_key(source)))
        answer = await self._of(job).call(
            "dynamodb",
            "transact_get_items",
            TransactItems=[{"Get": {"TableName": table, "Key": key}} for table, key in rows],
        )
        items = [response.get("Item") for response in answer["Responses"]]
        return (
            record_of(items[0]) if items[0] else None,
            head_of(job.session_key, items[1]),
            cancel_request(items[2], now),
            None if source is None else head_of(source, items[3]),
        )

    def _heeded(self, job: Job) -> dict[str, Any]:
        return update_of(
            self._jobs,
            control_key(job.job_id),
            {"action": "none"},
            condition="attribute_exists(job_id)",
            seen={},
        )

    async def _write_claim(
        self,
        claim: Claim,
        record: JobRecord | None,
        now: float,
        lease_seconds: float,
        others: Sequence[dict[str, Any]],
    ) -> bool:
        """One transaction, on condition that both rows are as they were read."""
        head, request = claim.head, claim.job.request
        lease = {
            "owner": claim.owner,
            "job_id": claim.job.job_id,
            "expires_at": now + lease_seconds,
        }
        job_update = update_of(
            self._jobs,
            _job_key(claim.job.job_id),
            {
                "session_key": claim.job.session_key,
                "tenant_id": request.tenant_id,
                "chat_id": request.chat_id,
                "thread_id": request.thread_id,
                "state": JobState.RUNNING.value,
                "attempt": claim.attempt,
                "first_attempt": claim.first_attempt,
                "generation": claim.generation,
                "owner": claim.owner,
                "unfinished": unfinished_row("running", claim.job.job_id),
                "created_at": claim.created_at,
                "updated_at": now,
                "claimed_at": now,
                "history": history_rows(claim.history) or None,
                "expires_at": int(now + self._job_ttl),
            },
            remove=("event", "published_at", *ENDED_ATTRIBUTES),
            condition="attribute_not_exists(job_id)"
            if record is None
            else "attempt = :seen_attempt AND #state = :seen_state",
            seen={}
            if record is None
            else {":seen_attempt": record.attempt, ":seen_state": record.state.value},
        )
        session_update = update_of(
            self._sessions,
            _session_key(claim.job.session_key),
            {
                "generation": claim.generation,
                "lease": lease,
                "tenant_id": request.tenant_id,
                "chat_id": request.chat_id,
                "thread_id": request.thread_id,
                # The row must outlive its lease, or the fence would begin anew; and one of a chat
                # whose turns never commit must not stay for ever.
                "expires_at": int(max(head.expires_at, now) + ROW_MARGIN_SECONDS),
            },
            condition="attribute_not_exists(generation)"
            if head.generation == 0
            else "generation = :seen_generation AND "
            + ("lease = :seen_lease" if head.lease else "attribute_not_exists(lease)"),
            seen={}
            if head.generation == 0
            else {
                ":seen_generation": head.generation,
                **({":seen_lease": _lease_row(head)} if head.lease else {}),
            },
        )
        try:
            await self._transact(claim, job_update, session_update, *others)
        except RefusedError as exc:
            if exc.code == "TransactionCanceledException":
                return False
            raise
        return True

    async def extend(self, claim: Claim, lease_expires_at: float) -> None:
        try:
            await self._of(claim.job).call(
                "dynamodb",
                "update_item",
                TableName=self._sessions,
                Key=_session_key(claim.job.session_key),
                UpdateExpression="SET lease.expires_at = :until",
                ConditionExpression="generation = :mine AND attribute_exists(lease)",
                ExpressionAttributeValues=values(
                    {":until": lease_expires_at, ":mine": claim.generation}
                ),
            )
        except RefusedError as exc:
            if exc.code == "ConditionalCheckFailedException":
                raise LeaseLostError(claim.job.session_key, claim.generation) from exc
            raise

    async def commit(
        self, claim: Claim, commit: Commit, now: float, session_ttl_seconds: float
    ) -> JobRecord:
        head, state = claim.head, commit.state
        why = {"error_code": "cancelled", "error_message": commit.error_message}
        error = why if state is JobState.CANCELLED else {}
        job_update = self._end(
            claim,
            {
                "state": state.value,
                "unfinished": unfinished_row("unpublished", claim.job.job_id),
                "event": commit.event,
                "session_id": commit.session_id,
                "cost_usd": commit.cost_usd,
                "num_turns": commit.num_turns,
                **ended_row("cancelled" if error else "completed", claim.job.job_id, now),
                **error,
            },
            now,
            remove=() if error else ("error_code", "error_message"),
        )
        session_update = self._free(
            claim,
            {
                "session_id": commit.session_id,
                "version": head.version + 1,
                "segments": [segment_row(segment) for segment in commit.segments],
                "files": [segment_row(segment) for segment in commit.files],
                "turns": head.turns + 1,
                "cost_usd": head.cost_usd + commit.cost_usd,
                "updated_at": now,
                "session_expires_at": now + session_ttl_seconds,
                "expires_at": int(now + session_ttl_seconds + ROW_MARGIN_SECONDS),
            },
        )
        await self._fenced(claim, state, job_update, session_update)
        return _ended(claim, state, now, event=commit.event, **error)

    async def release(self, claim: Claim, pause: Pause, now: float) -> None:
        changes: dict[str, object] = {
            "error_code": pause.code,
            "error_message": pause.message,
            "first_attempt": claim.first_attempt + (0 if pause.counted else 1),
            "slices": pause.slices,
            "spent": spent_row(pause.spent),
            "history": history_rows(claim.ended(pause.code, pause.message, now)),
        }
        job_update = self._end(claim, changes, now)
        await self._fenced(claim, JobState.RUNNING, job_update, self._free(claim, {}))

    async def fail(
        self, claim: Claim, event: str, code: str, message: str, now: float
    ) -> JobRecord:
        return await self._abandon(claim, JobState.FAILED, event, code, message, now)

    async def cancel(self, claim: Claim, event: str, message: str, now: float) -> JobRecord:
        return await self._abandon(claim, JobState.CANCELLED, event, "cancelled", message, now)

    async def _abandon(
        self, claim: Claim, state: JobState, event: str, code: str, message: str, now: float
    ) -> JobRecord:
        """End the job; its chat stays as it was."""
        history = claim.ended(code, message, now)
        changes: dict[str, object] = {
            "state": state.value,
            "unfinished": unfinished_row("unpublished", claim.job.job_id),
            "event": event,
            "error_code": code,
            "error_message": message,
            "spent": spent_row(claim.spent),
            "cost_usd": claim.spent.cost_usd,
            "num_turns": claim.spent.num_turns,
            "history": history_rows(history),
            **ended_row(state.value, claim.job.job_id, now),
        }
        job_update = self._end(claim, changes, now)
        await self._fenced(claim, state, job_update, self._free(claim, {}))
        return _ended(
            claim,
            state,
            now,
            event=event,
            error_code=code,
            error_message=message,
            history=history,
        )

    async def cancel_request(self, job_id: str, now: float) -> CancelRequest | None:
        answer = await self._aws.call(
            "dynamodb", "get_item", TableName=self._jobs, Key=control_key(job_id)
        )
        return cancel_request(answer.get("Item"), now)

    async def reject(self, record: JobRecord) -> JobRecord:
        row = {
            "job_id": record.job_id,
            # A key of an index must not be empty: a message without a readable chat is in none.
            "session_key": record.session_key or None,
            "state": record.state.value,
            "unfinished": unfinished_row("unpublished", record.job_id),
            "attempt": record.attempt,
            "first_attempt": record.first_attempt,
            "event": record.event,
            "error_code": record.error_code,
            "error_message": record.error_message,
            "created_at": record.created_at,
            "updated_at": record.updated_at,
            "expires_at": int(record.created_at + self._job_ttl),
            **ended_row("rejected", record.job_id, record.created_at),
        }
        try:
            await self._aws.call(
                "dynamodb",
                "put_item",
                TableName=self._jobs,
                Item=values(row),
                ConditionExpression="attribute_not_exists(job_id)",
            )
        except RefusedError as exc:
            if exc.code != "ConditionalCheckFailedException":
                raise
            return await self.get(record.job_id) or record
        return record

    async def mark_published(self, record: JobRecord, now: float) -> None:
        published = (
            JobState.PUBLISHED if record.state is JobState.ANSWERED else record.state
        ).value
        update = update_of(
            self._jobs,
            _job_key(record.job_id),
            {"state": published, "published_at": now, "updated_at": now},
            remove=("unfinished",),
            condition="#state = :seen_state AND attempt = :seen_attempt",
            seen={":seen_state": record.state.value, ":seen_attempt": record.attempt},
        )
        try:
            await self._aws.call("dynamodb", "update_item", **update["Update"])
        except RefusedError as exc:
            # Somebody else published it, or a replay has opened it again: both are theirs to say.
            if exc.code != "ConditionalCheckFailedException":
                raise

    async def get(self, job_id: str) -> JobRecord | None:
        answer = await self._aws.call(
            "dynamodb",
            "get_item",
            TableName=self._jobs,
            Key=_job_key(job_id),
            ConsistentRead=True,
        )
        return record_of(answer["Item"]) if "Item" in answer else None

    async def unfinished(self, state: str, before: float, limit: int) -> list[JobRecord]:
        answers = await asyncio.gather(
            *(
                self._aws.call(
                    "dynamodb",
                    "query",
                    TableName=self._jobs,
                    IndexName=UNFINISHED,
                    KeyConditionExpression="unfinished = :shard AND updated_at < :before",
                    ExpressionAttributeValues=values(
                        {":shard": unfinished_partition(state, shard), ":before": before}
                    ),
                    Limit=limit,
                )
                for shard in range(SHARDS)
            )
        )
        found = sorted(
            (plain(item) for answer in answers for item in answer["Items"]),
            key=lambda item: item["updated_at"],
        )
        records = await asyncio.gather(*(self.get(item["job_id"]) for item in found[:limit]))
        return [record for record in records if record is not None]

    def _end(
        self, claim: Claim, changes: Mapping[str, object], now: float, remove: tuple[str, ...] = ()
    ) -> dict[str, Any]:
        return update_of(
            self._jobs,
            _job_key(claim.job.job_id),
            {**changes, "updated_at": now},
            remove=remove,
            condition="generation = :mine AND #state = :running",
            seen={":mine": claim.generation, ":running": JobState.RUNNING.value},
        )

    def _free(self, claim: Claim, changes: Mapping[str, object]) -> dict[str, Any]:
        return update_of(
            self._sessions,
            _session_key(claim.job.session_key),
            changes,
            remove=("lease",),
            condition="generation = :mine",
            seen={":mine": claim.generation},
        )

    async def _fenced(self, claim: Claim, state: JobState, *updates: dict[str, Any]) -> None:
        """Write, or raise LeaseLostError when a newer generation exists."""
        try:
            await self._transact(claim, *updates)
        except RefusedError as exc:
            if exc.code != "TransactionCanceledException":
                raise
            # An earlier try of this same write may have landed without its answer reaching us.
            record = await self.get(claim.job.job_id)
            if (
                record is None
                or record.generation != claim.generation
                or record.state is not state
                or state is JobState.RUNNING
            ):
                raise LeaseLostError(claim.job.session_key, claim.generation) from exc

    def _of(self, job: Job) -> Aws:
        return self._aws.of(job.request.tenant_id)

    async def _transact(self, claim: Claim, *updates: dict[str, Any]) -> None:
        await self._of(claim.job).call(
            "dynamodb",
            "transact_write_items",
            TransactItems=list(updates),
            # The same token on each retry of this call makes it one write (idempotent 10 minutes).
            ClientRequestToken=str(uuid.uuid4()),
        )


def _ended(claim: Claim, state: JobState, now: float, **fields: Any) -> JobRecord:  # noqa: ANN401 - dataclass fields
    fields = {"history": claim.history, **fields}
    return JobRecord(
        job_id=claim.job.job_id,
        session_key=claim.job.session_key,
        state=state,
        attempt=claim.attempt,
        first_attempt=claim.first_attempt,
        generation=claim.generation,
        slices=claim.slices,
        spent=claim.spent,
        created_at=claim.created_at,
        updated_at=now,
        claimed_at=claim.claimed_at,
        **fields,
    )


def _lease_row(head: SessionHead) -> dict[str, object] | None:
    lease = head.lease
    if lease is None:
        return None
    return {"owner": lease.owner, "job_id": lease.job_id, "expires_at": lease.expires_at}


def _job_key(job_id: str) -> dict[str, Any]:
    return {"job_id": {"S": job_id}}


def _session_key(session_key: str) -> dict[str, Any]:
    return {"session_key": {"S": session_key}}
