"""Subscriptions, deliveries and lanes in WEBHOOK_TABLE.

    part            item            what
    subscriptions   wh_1            a subscription
    wh_1            lane            its lease, hold and failures
    wh_1            delivery#<id>   a delivery with its log; due_at while it is pending
    event#<id>      event           an event's body, once for all its deliveries

The local indexes `due` and `recent` are read consistently, so what was written is seen.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from worker.adapters.aws import Aws, RefusedError
from worker.adapters.items import Item, plain, value, values
from worker.webhooks.delivery import Attempt, Delivery, DeliveryState
from worker.webhooks.errors import ChangedError
from worker.webhooks.event import IncomingEvent
from worker.webhooks.ports import Lane
from worker.webhooks.subscription import Secret, Subscription

SUBSCRIPTIONS = "subscriptions"
LANE = "lane"
DELIVERY = "delivery#"
EVENT = "event"
_CONDITION_FAILED = "ConditionalCheckFailedException"
_PAGE = 100


class DynamoWebhookStore:
    """The store port on DynamoDB."""

    def __init__(self, aws: Aws, table: str) -> None:
        self._aws = aws
        self._table = table

    async def subscriptions(self) -> list[Subscription]:
        found = [
            _subscription_of(row)
            async for row in self._query(
                KeyConditionExpression="part = :part",
                ExpressionAttributeValues=values({":part": SUBSCRIPTIONS}),
            )
        ]
        return sorted(found, key=lambda subscription: subscription.created_at)

    async def subscription(self, subscription_id: str) -> Subscription | None:
        row = await self._get(SUBSCRIPTIONS, subscription_id)
        return None if row is None else _subscription_of(row)

    async def save(self, subscription: Subscription) -> Subscription:
        row = asdict(subscription)
        row["revision"] = subscription.revision + 1
        row |= {"part": SUBSCRIPTIONS, "item": row.pop("subscription_id")}
        row["secrets"] = [_present(secret) for secret in row["secrets"]]
        await self._put_if_unchanged(row, subscription.revision)
        return _subscription_of(row)

    async def remove(self, subscription_id: str) -> None:
        for part, item in ((SUBSCRIPTIONS, subscription_id), (subscription_id, LANE)):
            await self._aws.call(
                "dynamodb", "delete_item", TableName=self._table, Key=_key(part, item)
            )

    async def add(self, event: IncomingEvent, deliveries: Sequence[Delivery]) -> None:
        row = {
            "part": f"event#{event.webhook_id}",
            "item": EVENT,
            "event_id": event.event_id,
            "type": event.type,
            "tenant": event.tenant,
            "chat": event.chat,
            "traceparent": event.traceparent,
            "body": event.body,
            "expires_at": int(max(delivery.expires_at for delivery in deliveries)),
        }
        await self._put_if_absent(row)  # before what refers to it
        await asyncio.gather(*(self._put_if_absent(_delivery_row(d)) for d in deliveries))

    async def event(self, webhook_id: str) -> IncomingEvent | None:
        row = await self._get(f"event#{webhook_id}", EVENT)
        if row is None:
            return None
        return IncomingEvent(
            event_id=row["event_id"],
            type=row["type"],
            tenant=row.get("tenant"),
            chat=row.get("chat"),
            traceparent=row.get("traceparent"),
            body=row["body"],
        )

    async def delivery(self, subscription_id: str, webhook_id: str) -> Delivery | None:
        row = await self._get(subscription_id, f"{DELIVERY}{webhook_id}")
        return None if row is None else _delivery_of(row)

    async def due(self, subscription_id: str, now: float, limit: int) -> list[Delivery]:
        answer = await self._aws.call(
            "dynamodb",
            "query",
            TableName=self._table,
            IndexName="due",
            ConsistentRead=True,
            KeyConditionExpression="part = :part AND due_at <= :now",
            ExpressionAttributeValues=values({":part": subscription_id, ":now": now}),
            Limit=limit,
        )
        return [_delivery_of(plain(item)) for item in answer["Items"]]

    async def recent(
        self, subscription_id: str, *, since: float = 0.0, newest_first: bool = True
    ) -> AsyncIterator[Delivery]:
        async for row in self._query(
            IndexName="recent",
            KeyConditionExpression="part = :part AND updated_at >= :since",
            ExpressionAttributeValues=values({":part": subscription_id, ":since": since}),
            ScanIndexForward=not newest_first,
            Limit=_PAGE,
        ):
            yield _delivery_of(row)

    async def change(self, delivery: Delivery) -> Delivery:
        row = _delivery_row(delivery) | {"revision": delivery.revision + 1}
        await self._put_if_unchanged(row, delivery.revision)
        if delivery.tries == 0:  # begun anew, and so kept longer
            await self._keep_event(delivery)
        return _delivery_of(row)

    async def lease(
        self, subscription_id: str, owner: str, now: float, seconds: float
    ) -> Lane | None:
        try:
            answer = await self._aws.call(
                "dynamodb",
                "update_item",
                TableName=self._table,
                Key=_key(subscription_id, LANE),
                UpdateExpression="SET lease_owner = :owner, leased_until = :until",
                ConditionExpression="attribute_not_exists(lease_owner) OR lease_owner = :owner "
                "OR leased_until <= :now",
                ExpressionAttributeValues=values(
                    {":owner": owner, ":until": now + seconds, ":now": now}
                ),
                ReturnValues="ALL_NEW",
            )
        except RefusedError as exc:
            if exc.code == _CONDITION_FAILED:
                return None
            raise
        return _lane_of(plain(answer["Attributes"]))

    async def release(self, subscription_id: str, owner: str, lane: Lane) -> None:
        failing = lane.failing_since is not None
        try:
            await self._aws.call(
                "dynamodb",
                "update_item",
                TableName=self._table,
                Key=_key(subscription_id, LANE),
                UpdateExpression="SET hold_until = :hold"
                + (", failing_since = :failing" if failing else "")
                + " REMOVE lease_owner, leased_until"
                + ("" if failing else ", failing_since"),
                ConditionExpression="lease_owner = :owner",
                ExpressionAttributeValues=values(
                    {
                        ":owner": owner,
                        ":hold": lane.hold_until,
                        ":failing": lane.failing_since,
                    }
                ),
            )
        except RefusedError as exc:
            if exc.code != _CONDITION_FAILED:
                raise

    async def lane(self, subscription_id: str) -> Lane:
        return _lane_of(await self._get(subscription_id, LANE) or {})

    async def _keep_event(self, delivery: Delivery) -> None:
        try:
            await self._aws.call(
                "dynamodb",
                "update_item",
                TableName=self._table,
                Key=_key(f"event#{delivery.webhook_id}", EVENT),
                UpdateExpression="SET expires_at = :expires_at",
                ConditionExpression="expires_at < :expires_at",
                ExpressionAttributeValues=values({":expires_at": int(delivery.expires_at)}),
            )
        except RefusedError as exc:
            if exc.code != _CONDITION_FAILED:  # it lasts long enough, or is gone
                raise

    async def _get(self, part: str, item: str) -> dict[str, Any] | None:
        answer = await self._aws.call(
            "dynamodb",
            "get_item",
            TableName=self._table,
            Key=_key(part, item),
            ConsistentRead=True,
        )
        found: Item | None = answer.get("Item")
        return None if found is None else plain(found)

    async def _query(self, **query: Any) -> AsyncIterator[dict[str, Any]]:  # noqa: ANN401 - boto3's
        start: dict[str, Any] = {}
        while True:
            answer = await self._aws.call(
                "dynamodb",
                "query",
                TableName=self._table,
                ConsistentRead=True,
                **query,
                **start,
            )
            for item in answer["Items"]:
                yield plain(item)
            if "LastEvaluatedKey" not in answer:
                return
            start = {"ExclusiveStartKey": answer["LastEvaluatedKey"]}

    async def _put_if_absent(self, row: Mapping[str, object]) -> None:
        with contextlib.suppress(ChangedError):  # an event that came twice
            await self._put(row, "attribute_not_exists(part)", {})

    async def _put_if_unchanged(self, row: Mapping[str, object], revision: int) -> None:
        if revision == 0 and row["part"] == SUBSCRIPTIONS:
            await self._put(row, "attribute_not_exists(part)", {})
        else:
            await self._put(row, "revision = :revision", {":revision": value(revision)})

    async def _put(self, row: Mapping[str, object], condition: str, seen: Item) -> None:
        named: dict[str, Any] = {"ExpressionAttributeValues": seen} if seen else {}
        try:
            await self._aws.call(
                "dynamodb",
                "put_item",
                TableName=self._table,
                Item=values(row),
                ConditionExpression=condition,
                **named,
            )
        except RefusedError as exc:
            if exc.code != _CONDITION_FAILED:
                raise
            raise ChangedError(str(row["item"])) from exc


def _key(part: str, item: str) -> Item:
    return values({"part": part, "item": item})


def _present(fields: Mapping[str, object]) -> dict[str, object]:
    """Without what is None: DynamoDB leaves such attributes out, also inside others."""
    return {name: item for name, item in fields.items() if item is not None}


def _subscription_of(row: Mapping[str, Any]) -> Subscription:
    return Subscription(
        subscription_id=row["item"],
        url=row["url"],
        types=tuple(row["types"]),
        tenants=tuple(row["tenants"]),
        chats=tuple(row["chats"]),
        description=row["description"],
        secrets=tuple(
            Secret(secret["value"], _float(secret.get("expires_at"))) for secret in row["secrets"]
        ),
        disabled=row.get("disabled"),
        announcement=row.get("announcement"),
        created_at=float(row["created_at"]),
        updated_at=float(row["updated_at"]),
        revision=int(row["revision"]),
    )


def _delivery_row(delivery: Delivery) -> dict[str, object]:
    row: dict[str, object] = asdict(delivery)
    row["part"] = row.pop("subscription_id")
    row["item"] = f"{DELIVERY}{row.pop('webhook_id')}"
    row["state"] = delivery.state.value
    row["expires_at"] = int(delivery.expires_at)
    row["log"] = [_present(asdict(attempt)) for attempt in delivery.log]
    return row


def _delivery_of(row: Mapping[str, Any]) -> Delivery:
    return Delivery(
        subscription_id=row["part"],
        webhook_id=row["item"].removeprefix(DELIVERY),
        event_id=row["event_id"],
        type=row["type"],
        created_at=float(row["created_at"]),
        expires_at=float(row["expires_at"]),
        state=DeliveryState(row["state"]),
        due_at=_float(row.get("due_at")),
        limit=int(row["limit"]),
        tries=int(row["tries"]),
        attempts=int(row["attempts"]),
        log=tuple(_attempt_of(line) for line in row["log"]),
        updated_at=float(row["updated_at"]),
        revision=int(row["revision"]),
    )


def _attempt_of(line: Mapping[str, Any]) -> Attempt:
    status = line.get("status")
    return Attempt(
        number=int(line["number"]),
        at=float(line["at"]),
        seconds=float(line["seconds"]),
        status=None if status is None else int(status),
        error=line.get("error"),
        problem=line.get("problem"),
        snippet=line["snippet"],
    )


def _lane_of(row: Mapping[str, Any]) -> Lane:
    return Lane(float(row.get("hold_until", 0.0)), _float(row.get("failing_since")))


def _float(number: object) -> float | None:
    return None if number is None else float(str(number))
