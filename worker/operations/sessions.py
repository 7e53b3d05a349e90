"""Chats: their rows in SESSION_TABLE, and changing them as a worker would, fenced."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

from worker.adapters.aws import Aws, RefusedError
from worker.adapters.items import head_of, plain, segment_row, update_of, values
from worker.adapters.ledger import ROW_MARGIN_SECONDS
from worker.domain.errors import WorkerError
from worker.domain.session import Lease, Segment, SessionHead

SCAN_SEGMENTS = 4
"""A scan is read side by side by so many."""


class ChatBusyError(WorkerError):
    """A worker has the chat. Attributes: session_key, lease."""

    def __init__(self, session_key: str, lease: Lease, now: float) -> None:
        self.session_key, self.lease = session_key, lease
        super().__init__(
            f"chat {session_key} is worked on: job {lease.job_id} has its lease for another "
            f"{max(lease.expires_at - now, 0):.0f} s (renewed while the worker lives); wait, or "
            "use --force to take the chat away from it"
        )


class ChatChangedError(WorkerError):
    """Somebody else wrote the chat's row since it was read."""

    def __init__(self, session_key: str) -> None:
        super().__init__(
            f"chat {session_key} has changed meanwhile: a worker has begun or ended a turn; "
            "nothing was changed, try again"
        )


@dataclass(frozen=True, slots=True)
class Chat:
    """A chat's row. Times are epoch seconds; `changed_at` is the last commit, None before the
    first one. `session` is what the chat's next message continues, None when it starts anew.
    """

    head: SessionHead
    tenant_id: str | None = None
    chat_id: str | None = None
    thread_id: str | None = None
    changed_at: float | None = None

    @property
    def key(self) -> str:
        return self.head.session_key

    def session(self, now: float) -> str | None:
        return self.head.session_id if now < self.head.expires_at else None

    @property
    def stored_bytes(self) -> int:
        return sum(segment.size for segment in (*self.head.segments, *self.head.files))


@dataclass(frozen=True, slots=True)
class Content:
    """What a chat's row is made to say: the session that its next message continues."""

    session_id: str
    segments: tuple[Segment, ...]
    files: tuple[Segment, ...]
    expires_at: float


class SessionBook:
    """Reads and changes SESSION_TABLE.

    A change is written as a claim is: it raises the generation, on condition that the row is as it
    was read and no lease is live. Whoever worked on the chat before can commit nothing after it.
    """

    def __init__(self, aws: Aws, session_table: str) -> None:
        self._aws = aws
        self._table = session_table

    async def get(self, session_key: str) -> Chat | None:
        """The chat, as of now; None when nothing is known of it."""
        answer = await self._aws.call(
            "dynamodb",
            "get_item",
            TableName=self._table,
            Key={"session_key": {"S": session_key}},
            ConsistentRead=True,
        )
        return _chat(answer["Item"]) if "Item" in answer else None

    async def all(self, tenant: str | None = None) -> AsyncIterator[Chat]:
        """Every chat, in no order: reads the whole table, of a tenant or not."""
        queue: asyncio.Queue[Chat | None] = asyncio.Queue(maxsize=1000)

        async def scan(number: int) -> None:
            start: dict[str, Any] = {}
            while True:
                answer = await self._aws.call(
                    "dynamodb",
                    "scan",
                    TableName=self._table,
                    TotalSegments=SCAN_SEGMENTS,
                    Segment=number,
                    **_of_tenant(tenant),
                    **start,
                )
                for item in answer["Items"]:
                    if "#" not in item["session_key"]["S"]:  # no key of a chat has one
                        await queue.put(_chat(item))
                if "LastEvaluatedKey" not in answer:
                    return
                start = {"ExclusiveStartKey": answer["LastEvaluatedKey"]}

        async def scan_all() -> None:
            try:
                async with asyncio.TaskGroup() as group:
                    for number in range(SCAN_SEGMENTS):
                        group.create_task(scan(number))
            finally:
                await queue.put(None)

        scanning = asyncio.create_task(scan_all())
        try:
            while (chat := await queue.get()) is not None:
                yield chat
            await scanning
        except* WorkerError as group:
            raise group.exceptions[0] from group
        finally:
            scanning.cancel()
            await asyncio.wait({scanning})

    async def reset(self, seen: SessionHead, now: float, *, force: bool = False) -> None:
        """The chat's next message starts a new session. Its totals stay."""
        await self._change(
            seen,
            {"version": seen.version + 1},
            ("session_id", "segments", "files", "session_expires_at"),
            now,
            force=force,
        )

    async def install(
        self, seen: SessionHead, content: Content, now: float, *, force: bool = False
    ) -> None:
        """The chat's next message continues this session."""
        names = _names_of(seen.session_key)
        await self._change(
            seen,
            {
                **names,
                "session_id": content.session_id,
                "version": seen.version + 1,
                "segments": [segment_row(segment) for segment in content.segments],
                "files": [segment_row(segment) for segment in content.files],
                "updated_at": now,
                "session_expires_at": content.expires_at,
                "expires_at": int(content.expires_at + ROW_MARGIN_SECONDS),
            },
            (),
            now,
            force=force,
        )

    async def erase(self, seen: SessionHead, now: float, *, force: bool = False) -> None:
        """Forget the chat. What is left, for a day, is the generation: the fence against a worker
        that does not know yet.
        """
        await self._change(
            seen,
            {"version": seen.version + 1, "expires_at": int(now + ROW_MARGIN_SECONDS)},
            (
                *("session_id", "segments", "files", "session_expires_at", "updated_at"),
                *("tenant_id", "chat_id", "thread_id", "turns", "cost_usd"),
            ),
            now,
            force=force,
        )

    async def _change(
        self,
        seen: SessionHead,
        changes: Mapping[str, object],
        remove: tuple[str, ...],
        now: float,
        *,
        force: bool,
    ) -> None:
        lease = seen.lease
        if lease is not None and lease.live(now) and not force:
            raise ChatBusyError(seen.session_key, lease, now)
        condition, given = _as_seen(seen, force=force)
        update = update_of(
            self._table,
            {"session_key": {"S": seen.session_key}},
            {**changes, "generation": seen.generation + 1},
            remove=(*remove, "lease"),
            condition=condition,
            seen=given,
        )["Update"]
        try:
            await self._aws.call("dynamodb", "update_item", **update)
        except RefusedError as exc:
            if exc.code != "ConditionalCheckFailedException":
                raise
            raise ChatChangedError(seen.session_key) from exc


def _as_seen(seen: SessionHead, *, force: bool) -> tuple[str, dict[str, object]]:
    """The condition that the row is as it was read. A lease that is taken by force may be renewed
    at any moment: then only the generation counts.
    """
    if seen.generation == 0:
        return "attribute_not_exists(generation)", {}
    given: dict[str, object] = {":seen_generation": seen.generation}
    condition = "generation = :seen_generation"
    if force:
        return condition, given
    if seen.lease is None:
        return f"{condition} AND attribute_not_exists(lease)", given
    return f"{condition} AND lease.expires_at = :seen_lease", {
        **given,
        ":seen_lease": seen.lease.expires_at,
    }


def _names_of(session_key: str) -> dict[str, object]:
    """Tenant, chat and thread of a key; of one that ends in a hash, only the tenant."""
    tenant, _, conversation = session_key.partition("/")
    if "~" in conversation:
        return {"tenant_id": tenant}
    chat, _, thread = conversation.partition(":")
    return {
        "tenant_id": tenant,
        "chat_id": unquote(chat),
        "thread_id": unquote(thread) if thread else None,
    }


def _of_tenant(tenant: str | None) -> dict[str, Any]:
    if tenant is None:
        return {}
    return {
        "FilterExpression": "begins_with(session_key, :tenant)",
        "ExpressionAttributeValues": values({":tenant": f"{tenant}/"}),
    }


def _chat(item: Mapping[str, Any]) -> Chat:
    row = plain(item)
    changed_at = row.get("updated_at")
    return Chat(
        head=head_of(row["session_key"], item),
        tenant_id=row.get("tenant_id"),
        chat_id=row.get("chat_id"),
        thread_id=row.get("thread_id"),
        changed_at=None if changed_at is None else float(changed_at),
    )
