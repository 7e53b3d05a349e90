"""Events to SNS and EventBridge: one body, side by side.

Both take up to ten entries in a request, and both answer 200 and say entry by entry what failed
(SNS PublishBatch, EventBridge PutEvents). Only entries that failed, for a reason that may pass, are
sent again.
"""

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from worker.adapters.aws import TRANSIENT_CODES, Aws, RefusedError, patiently
from worker.domain.errors import UnavailableError

EVENT_SOURCE = "agent-worker"

INSISTING = 3
"""Attempts at a final event, before its message comes back for more."""

TELLING = 2
"""Attempts at an event of a running turn, before it is dropped."""

Entry = Mapping[str, Any]
Send = Callable[[Sequence[Entry]], Awaitable[Sequence[str | None]]]
"""Sends entries; returns the error code of each, in order, None for one that was taken."""


class AwsPublisher:
    """Publishes to the result topic and the event bus.

    The two are independent: each is tried to its end, whatever becomes of the other. A repeat
    carries the same event id, so a subscriber recognizes it.

    Args:
        aws: for final events.
        aside: for those of running turns: a topic that hangs must not use up the threads that a
            turn needs.
    """

    def __init__(
        self, aws: Aws, topic_arn: str, bus_name: str, *, aside: Aws | None = None
    ) -> None:
        self._aws = aws
        self._aside = aside or aws
        self._topic_arn = topic_arn
        self._bus_name = bus_name

    async def publish(self, event: str) -> None:
        await self._to_both([event], self._aws, INSISTING)

    async def tell(self, events: Sequence[str]) -> None:
        await self._to_both(events, self._aside, TELLING)

    async def _to_both(self, events: Sequence[str], aws: Aws, attempts: int) -> None:
        outcomes = await asyncio.gather(
            _taken("sns", [_on_topic(event) for event in events], self._topic(aws), attempts),
            _taken("events", [self._on_bus(event) for event in events], self._bus(aws), attempts),
            return_exceptions=True,
        )
        errors = [outcome for outcome in outcomes if isinstance(outcome, BaseException)]
        if errors:
            raise UnavailableError(
                "publisher", "; ".join(str(error) for error in errors)
            ) from errors[0]

    def _topic(self, aws: Aws) -> Send:
        async def send(entries: Sequence[Entry]) -> Sequence[str | None]:
            named = [{"Id": str(n), **entry} for n, entry in enumerate(entries)]
            answer = await aws.call(
                "sns",
                "publish_batch",
                attempts=1,
                TopicArn=self._topic_arn,
                PublishBatchRequestEntries=named,
            )
            failed = {
                # Not the sender's fault: it passes.
                failure["Id"]: failure["Code"] if failure["SenderFault"] else "InternalError"
                for failure in answer.get("Failed", [])
            }
            return [failed.get(entry["Id"]) for entry in named]

        return send

    def _bus(self, aws: Aws) -> Send:
        async def send(entries: Sequence[Entry]) -> Sequence[str | None]:
            answer = await aws.call("events", "put_events", attempts=1, Entries=list(entries))
            return [outcome.get("ErrorCode") for outcome in answer["Entries"]]

        return send

    def _on_bus(self, event: str) -> Entry:
        return {
            "Source": EVENT_SOURCE,
            "DetailType": json.loads(event)["type"],
            "Detail": event,
            "EventBusName": self._bus_name,
        }


def _on_topic(event: str) -> Entry:
    envelope = json.loads(event)
    status = envelope["type"].rpartition(".")[2]
    if status == "completed" and envelope["data"].get("is_error"):
        status = "completed_with_error"
    attributes = {
        "type": envelope["type"],
        "tenant": envelope.get("tenantid") or "default",
        "status": status,
    }
    return {
        "Message": event,
        "MessageAttributes": {
            name: {"DataType": "String", "StringValue": item} for name, item in attributes.items()
        },
    }


async def _taken(system: str, entries: Sequence[Entry], send: Send, attempts: int) -> None:
    """Send until every entry was taken or refused. Raises UnavailableError or RefusedError."""
    left, refused = list(entries), list[str]()
    async for attempt in patiently(attempts):
        with attempt:
            codes = dict(enumerate(await send(left)))
            busy = {n: code for n, code in codes.items() if code in TRANSIENT_CODES}
            refused += [code for n, code in codes.items() if code and n not in busy]
            left = [left[n] for n in busy]
            if busy:
                reasons = ", ".join(sorted({str(code) for code in busy.values()}))
                raise UnavailableError(system, f"{len(left)} of {len(entries)} entries: {reasons}")
    if refused:
        raise RefusedError(system, refused[0], f"{len(refused)} entries were refused", ())
