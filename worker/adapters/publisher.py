"""Final events to SNS and EventBridge: one body, side by side."""

import asyncio
import json
from collections.abc import Mapping
from typing import Any

from worker.adapters.aws import TRANSIENT_CODES, Aws, RefusedError, patiently
from worker.domain.errors import UnavailableError

EVENT_SOURCE = "agent-worker"


class AwsPublisher:
    """Publishes to the result topic and the event bus.

    The two are independent: each is tried to its end, whatever becomes of the other. A repeat
    carries the same event id, so a subscriber recognizes it.
    """

    def __init__(self, aws: Aws, topic_arn: str, bus_name: str) -> None:
        self._aws = aws
        self._topic_arn = topic_arn
        self._bus_name = bus_name

    async def publish(self, event: str) -> None:
        envelope = json.loads(event)
        outcomes = await asyncio.gather(
            self._to_topic(event, envelope),
            self._to_bus(event, envelope),
            return_exceptions=True,
        )
        errors = [outcome for outcome in outcomes if isinstance(outcome, BaseException)]
        if errors:
            raise UnavailableError(
                "publisher", "; ".join(str(error) for error in errors)
            ) from errors[0]

    async def _to_topic(self, event: str, envelope: dict[str, Any]) -> None:
        status = envelope["type"].rpartition(".")[2]
        if status == "completed" and envelope["data"].get("is_error"):
            status = "completed_with_error"
        await self._aws.call(
            "sns",
            "publish",
            TopicArn=self._topic_arn,
            Message=event,
            MessageAttributes={
                name: {"DataType": "String", "StringValue": item}
                for name, item in {
                    "type": envelope["type"],
                    "tenant": envelope.get("tenantid") or "default",
                    "status": status,
                }.items()
            },
        )

    async def _to_bus(self, event: str, envelope: dict[str, Any]) -> None:
        entry = {
            "Source": EVENT_SOURCE,
            "DetailType": envelope["type"],
            "Detail": event,
            "EventBusName": self._bus_name,
        }
        async for attempt in patiently():
            with attempt:
                answer = await self._aws.call("events", "put_events", attempts=1, Entries=[entry])
                _check(answer["Entries"][0])


def _check(outcome: Mapping[str, Any]) -> None:
    """PutEvents answers 200 and says entry by entry what failed."""
    code = outcome.get("ErrorCode")
    if code in TRANSIENT_CODES:
        raise UnavailableError("events", f"put_events: {code}")
    if code:
        raise RefusedError("events put_events", code, outcome.get("ErrorMessage", ""), ())
