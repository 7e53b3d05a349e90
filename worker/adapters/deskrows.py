"""JOB_TABLE and SESSION_TABLE as the workbench reads them: many rows at once, no events."""

import asyncio
from collections.abc import Iterable, Mapping
from typing import Any

from worker.adapters.aws import Aws, RefusedError
from worker.adapters.items import Item, head_of, plain, record_of, value, values
from worker.domain.errors import UnavailableError
from worker.domain.job import JobRecord
from worker.replay.case import ChatView

BATCH = 100
"""DynamoDB: keys per BatchGetItem."""

TRIES = 8
"""How often keys that DynamoDB left unprocessed are asked for again."""

MAX_NOTES = 100
"""Notes that a job's row keeps."""

_RECORD = [
    "job_id",
    "session_key",
    "state",
    "attempt",
    "first_attempt",
    "generation",
    "slices",
    "spent",
    "error_code",
    "error_message",
    "created_at",
    "updated_at",
    "published_at",
    "claimed_at",
]
_CHAT = ["session_key", "turns", "cost_usd", "updated_at", "lease"]


class DynamoRows:
    """The workbench's view of both tables."""

    def __init__(self, aws: Aws, job_table: str, session_table: str) -> None:
        self._aws = aws
        self._jobs = job_table
        self._sessions = session_table

    async def jobs(self, job_ids: Iterable[str]) -> dict[str, JobRecord]:
        items = await self._get(self._jobs, "job_id", job_ids, _RECORD)
        records = [record_of(item) for item in items if "state" in item]
        return {record.job_id: record for record in records}

    async def chats(self, session_keys: Iterable[str], now: float) -> dict[str, ChatView]:
        items = await self._get(self._sessions, "session_key", session_keys, _CHAT)
        return {view.session_key: view for view in (_view(item, now) for item in items)}

    async def note(self, job_id: str, note: Mapping[str, Any]) -> None:
        try:
            await self._aws.call(
                "dynamodb",
                "update_item",
                TableName=self._jobs,
                Key={"job_id": {"S": job_id}},
                UpdateExpression="SET notes = list_append(if_not_exists(notes, :none), :note)",
                ConditionExpression="attribute_exists(job_id) AND "
                "(attribute_not_exists(notes) OR size(notes) < :most)",
                ExpressionAttributeValues=values(
                    {":none": [], ":note": [dict(note)], ":most": MAX_NOTES}
                ),
            )
        except RefusedError as exc:
            if exc.code != "ConditionalCheckFailedException":
                raise

    async def notes(self, job_id: str) -> list[dict[str, Any]]:
        answer = await self._aws.call(
            "dynamodb",
            "get_item",
            TableName=self._jobs,
            Key={"job_id": {"S": job_id}},
            ProjectionExpression="notes",
            ConsistentRead=True,
        )
        notes: list[dict[str, Any]] = plain(answer.get("Item", {})).get("notes", [])
        return [{**note, "at": float(note["at"])} for note in notes]

    async def _get(
        self, table: str, key: str, names: Iterable[str], attributes: list[str]
    ) -> list[Item]:
        unique = [name for name in dict.fromkeys(names) if name]
        batches = [unique[n : n + BATCH] for n in range(0, len(unique), BATCH)]
        found = await asyncio.gather(
            *(self._batch(table, key, batch, attributes) for batch in batches)
        )
        return [item for items in found for item in items]

    async def _batch(
        self, table: str, key: str, names: list[str], attributes: list[str]
    ) -> list[Item]:
        aliases = {f"#{name}": name for name in attributes}  # some are reserved words
        asked: dict[str, Any] = {
            table: {
                "Keys": [{key: value(name)} for name in names],
                "ProjectionExpression": ", ".join(aliases),
                "ExpressionAttributeNames": aliases,
                "ConsistentRead": True,
            }
        }
        items: list[Item] = []
        for turn in range(TRIES):
            answer = await self._aws.call("dynamodb", "batch_get_item", RequestItems=asked)
            items += answer["Responses"].get(table, [])
            asked = answer.get("UnprocessedKeys", {})
            if not asked:
                return items
            await asyncio.sleep(0.05 * 2**turn)
        raise UnavailableError("dynamodb", f"batch_get_item: {table} left keys unprocessed")


def _view(item: Item, now: float) -> ChatView:
    head = head_of(item["session_key"]["S"], item)
    committed_at = plain(item).get("updated_at")
    return ChatView(
        session_key=head.session_key,
        turns=head.turns,
        cost_usd=head.cost_usd,
        last_turn_at=None if committed_at is None else float(committed_at),
        busy_with=head.lease.job_id if head.lease and head.lease.live(now) else None,
    )
