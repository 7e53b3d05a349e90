"""The webhook queue and its dead-letter queue on SQS: standard ones, as order is not promised."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from worker.adapters.aws import Aws
from worker.adapters.queue import MAX_ERROR_CHARACTERS, sendable
from worker.webhooks.event import wake_body

MAX_DELAY_SECONDS = 900
"""SQS: DelaySeconds."""


@dataclass(frozen=True, slots=True)
class QueueMessage:
    """A message of the webhook queue."""

    message_id: str
    body: str = field(repr=False)
    receipt_handle: str = field(repr=False)


class SqsWebhookQueue:
    """The queue port on SQS; and receiving, for the host."""

    def __init__(self, aws: Aws, queue_url: str, dlq_url: str) -> None:
        self._aws = aws
        self._queue_url = queue_url
        self._dlq_url = dlq_url

    async def receive(self, wait_seconds: int) -> list[QueueMessage]:
        """Long-poll for messages, ten at most."""
        answer = await self._aws.call(
            "sqs",
            "receive_message",
            QueueUrl=self._queue_url,
            MaxNumberOfMessages=10,
            WaitTimeSeconds=wait_seconds,
        )
        return [
            QueueMessage(raw["MessageId"], raw["Body"], raw["ReceiptHandle"])
            for raw in answer.get("Messages", [])
        ]

    async def delete(self, message: QueueMessage) -> None:
        await self._aws.call(
            "sqs",
            "delete_message",
            QueueUrl=self._queue_url,
            ReceiptHandle=message.receipt_handle,
        )

    async def wake(self, subscription_id: str, after: float) -> None:
        # Rounded up, and one second more for clocks that differ: a wake that comes too early
        # finds nothing due.
        delay = min(math.ceil(after) + 1, MAX_DELAY_SECONDS) if after > 0 else 0
        await self._aws.call(
            "sqs",
            "send_message",
            QueueUrl=self._queue_url,
            MessageBody=wake_body(subscription_id),
            DelaySeconds=delay,
        )

    async def bury(self, body: str, attributes: Mapping[str, str]) -> None:
        sent: dict[str, Any] = {
            name: {
                "DataType": "String",
                "StringValue": sendable(text)[:MAX_ERROR_CHARACTERS] or "-",
            }
            for name, text in attributes.items()
        }
        await self._aws.call(
            "sqs",
            "send_message",
            QueueUrl=self._dlq_url,
            # JSON is the same with them escaped, and SQS takes no message that holds them.
            MessageBody=sendable(body).replace("\ufffe", "\\ufffe").replace("\uffff", "\\uffff"),
            MessageAttributes=sent,
        )
