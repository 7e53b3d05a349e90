"""The job queue and its dead-letter queue on SQS FIFO."""

import json
import math
from collections.abc import Mapping
from typing import Any

from contracts.auth import AUTH_SIGNATURE_ATTRIBUTE, AUTH_TOKEN_ATTRIBUTE
from worker.adapters.aws import Aws, RefusedError
from worker.domain.disposition import DeadLetter
from worker.domain.message import (
    DEAD_LETTER_ATTEMPT_ATTRIBUTE,
    DEAD_LETTER_ERROR_ATTRIBUTE,
    DEAD_LETTER_ORIGIN_ATTRIBUTE,
    DEAD_LETTER_REASON_ATTRIBUTE,
    JOB_ID_ATTRIBUTE,
    ORIGINAL_MESSAGE_ID_ATTRIBUTE,
    InboundMessage,
)

MAX_VISIBILITY_SECONDS = 43_200
"""SQS: 12 hours from the receipt."""

MAX_ERROR_CHARACTERS = 1000

GONE = frozenset({"ReceiptHandleIsInvalid", "InvalidParameterValue", "MessageNotInflight"})
OURS = frozenset(
    {
        JOB_ID_ATTRIBUTE,
        DEAD_LETTER_REASON_ATTRIBUTE,
        DEAD_LETTER_ERROR_ATTRIBUTE,
        DEAD_LETTER_ATTEMPT_ATTRIBUTE,
        DEAD_LETTER_ORIGIN_ATTRIBUTE,
        ORIGINAL_MESSAGE_ID_ATTRIBUTE,
    }
)
_NEVER_COPIED = OURS | {AUTH_TOKEN_ATTRIBUTE, AUTH_SIGNATURE_ATTRIBUTE}
MAX_ATTRIBUTES = 10
"""SQS allows ten message attributes."""


class SqsInbox:
    """Messages already received: extend, delete, quarantine; and receiving, for the host."""

    def __init__(self, aws: Aws, queue_url: str, dlq_url: str) -> None:
        self._aws = aws
        self._queue_url = queue_url
        self._dlq_url = dlq_url

    async def receive(self, wait_seconds: int, lease_seconds: float) -> InboundMessage | None:
        """Long-poll for one message, invisible to others for a lease. One at a time: a batch would
        hold later messages of its chats while the first one runs.
        """
        answer = await self._aws.call(
            "sqs",
            "receive_message",
            QueueUrl=self._queue_url,
            MaxNumberOfMessages=1,
            WaitTimeSeconds=wait_seconds,
            VisibilityTimeout=int(lease_seconds),
            MessageAttributeNames=["All"],
            MessageSystemAttributeNames=["All"],
        )
        messages = answer.get("Messages", [])
        return message_of(messages[0]) if messages else None

    async def extend(self, message: InboundMessage, seconds: float) -> None:
        try:
            await self._aws.call(
                "sqs",
                "change_message_visibility",
                QueueUrl=self._queue_url,
                ReceiptHandle=message.receipt_handle,
                # Whole seconds, rounded up: a message that comes too early only finds a live lease.
                VisibilityTimeout=min(max(math.ceil(seconds), 0), MAX_VISIBILITY_SECONDS),
            )
        except RefusedError as exc:
            # The receipt is stale: another delivery exists, and our fence decides, not SQS.
            if exc.code not in GONE:
                raise

    async def delete(self, message: InboundMessage) -> None:
        try:
            await self._aws.call(
                "sqs",
                "delete_message",
                QueueUrl=self._queue_url,
                ReceiptHandle=message.receipt_handle,
            )
        except RefusedError as exc:
            # Stale as well: the other delivery finds the job published, and deletes.
            if exc.code not in GONE:
                raise

    async def quarantine(self, message: InboundMessage, letter: DeadLetter) -> None:
        await self._aws.call("sqs", "send_message", **dead_letter(self._dlq_url, message, letter))


def dead_letter(dlq_url: str, message: InboundMessage, letter: DeadLetter) -> dict[str, Any]:
    """The dead letter: the body untouched, the producer's own attributes, our reason; no token.

    Its message group is its own, not the chat's: SQS shows a reader at most ten messages of a
    group, and none while one of them is in somebody's hands. A chat's eleventh dead letter could
    not be seen, and none be taken out of the middle. The chat's group is in the origin.
    """
    ours = {
        JOB_ID_ATTRIBUTE: letter.job_id,
        DEAD_LETTER_REASON_ATTRIBUTE: letter.reason,
        DEAD_LETTER_ERROR_ATTRIBUTE: sendable(letter.error)[:MAX_ERROR_CHARACTERS] or "-",
        DEAD_LETTER_ATTEMPT_ATTRIBUTE: str(letter.attempt),
        DEAD_LETTER_ORIGIN_ATTRIBUTE: json.dumps({"group": message.group_id}),
        ORIGINAL_MESSAGE_ID_ATTRIBUTE: message.attributes.get(
            ORIGINAL_MESSAGE_ID_ATTRIBUTE, message.message_id
        ),
    }
    theirs = {name: item for name, item in message.attributes.items() if name not in _NEVER_COPIED}
    room = MAX_ATTRIBUTES - len(ours)
    attributes = {**dict(list(theirs.items())[:room]), **ours}
    return {
        "QueueUrl": dlq_url,
        "MessageBody": message.body,
        "MessageGroupId": message.message_id,
        # The same letter sent twice (a crash before the delete) is one, for SQS's five minutes.
        "MessageDeduplicationId": f"{message.message_id}.{letter.attempt}",
        "MessageAttributes": {
            name: {"DataType": "String", "StringValue": item} for name, item in attributes.items()
        },
    }


def message_of(raw: Mapping[str, Any]) -> InboundMessage:
    """A message as SQS's API returns it."""
    system = raw.get("Attributes", {})
    return InboundMessage(
        message_id=raw["MessageId"],
        group_id=system.get("MessageGroupId", ""),
        body=raw["Body"],
        attributes={
            name: item["StringValue"]
            for name, item in raw.get("MessageAttributes", {}).items()
            if item.get("StringValue")
        },
        receipt_handle=raw["ReceiptHandle"],
        receive_count=int(system.get("ApproximateReceiveCount", 1)),
        sent_at=int(system.get("SentTimestamp", 0)) / 1000,
        deduplication_id=system.get("MessageDeduplicationId", ""),
    )


def sendable(text: str) -> str:
    """Only characters that SQS accepts (XML 1.0)."""
    return "".join(c if c in "\t\n\r" or c >= " " else "?" for c in text)
