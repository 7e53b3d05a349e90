"""The dead-letter queue on SQS FIFO, as the workbench reads and changes it.

SQS has no way to look: reading is receiving, which hides what was read. So what was read is hidden
only until everything was, then shown again at once; should the reader be killed, SQS shows it again
after `hold_seconds` and a second per hundred letters. The queue has no redrive policy, so its count
of receives means nothing.
"""

import asyncio
import hashlib
import time
from collections.abc import Mapping, Sequence
from typing import Any

from contracts.auth import AUTH_SIGNATURE_ATTRIBUTE, sign
from worker.adapters.aws import Aws, RefusedError
from worker.adapters.queue import GONE, MAX_ATTRIBUTES, OURS, message_of
from worker.replay.letter import Letter
from worker.replay.plan import Outgoing
from worker.replay.ports import Reading

READERS = 8
"""Receives at the same time."""

BATCH = 10
"""SQS: messages per receive, and entries per batch."""

LETTERS_PER_SECOND = 100
"""Slower than any reading is, so that what was read first is still hidden at its end."""


class SqsDeadLetters:
    """`tokens` are the valid ones, of which the first signs; None: none is needed."""

    def __init__(
        self, aws: Aws, dlq_url: str, queue_url: str, tokens: tuple[str, ...] | None
    ) -> None:
        self._aws = aws
        self._dlq_url = dlq_url
        self._queue_url = queue_url
        self._tokens = tokens

    async def read(self, hold_seconds: float) -> Reading:
        waiting, elsewhere = await self._counts()
        hold = int(hold_seconds) + waiting // LETTERS_PER_SECOND
        found: dict[str, Letter] = {}
        try:
            await asyncio.gather(*(self._reader(found, hold, 0) for _ in range(READERS)))
            behind, _ = await self._counts()
            if behind or len(found) < waiting:
                # A short poll asks some of SQS's servers, a long one all of them.
                await self._reader(found, hold, 1)
                behind, _ = await self._counts()
        except BaseException:
            # Also for an interrupt: nothing that was read stays hidden.
            await asyncio.shield(self.hold(list(found.values()), 0))
            raise
        return Reading(tuple(found.values()), behind, elsewhere)

    async def _reader(self, found: dict[str, Letter], hold: int, wait: int) -> None:
        """Receive until there is nothing new: what was read first could be visible again, should
        reading take longer than it is held.
        """
        while messages := await self._receive(hold, wait):
            known = all(letter.message_id in found for letter in messages)
            found |= {letter.message_id: letter for letter in messages}
            if known:
                return

    async def _receive(self, hold: int, wait: int) -> list[Letter]:
        answer = await self._aws.call(
            "sqs",
            "receive_message",
            QueueUrl=self._dlq_url,
            MaxNumberOfMessages=BATCH,
            WaitTimeSeconds=wait,
            VisibilityTimeout=hold,
            MessageAttributeNames=["All"],
            MessageSystemAttributeNames=["All"],
        )
        return [self._letter(raw) for raw in answer.get("Messages", [])]

    def _letter(self, raw: Mapping[str, Any]) -> Letter:
        moved = "DeadLetterQueueSourceArn" in raw.get("Attributes", {})
        return Letter.of(message_of(raw), moved=moved, tokens=self._tokens)

    async def _counts(self) -> tuple[int, int]:
        """Messages that can be received, and that are hidden: SQS's approximation."""
        names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
        answer = await self._aws.call(
            "sqs", "get_queue_attributes", QueueUrl=self._dlq_url, AttributeNames=names
        )
        visible, hidden = (int(answer["Attributes"].get(name, 0)) for name in names)
        return visible, hidden

    async def hold(self, letters: Sequence[Letter], seconds: float) -> None:
        batches = [letters[n : n + BATCH] for n in range(0, len(letters), BATCH)]
        await asyncio.gather(*(self._hold(batch, int(seconds)) for batch in batches))

    async def _hold(self, letters: Sequence[Letter], seconds: int) -> None:
        # One that is not ours any more is reported as failed, and that is as well.
        await self._aws.call(
            "sqs",
            "change_message_visibility_batch",
            QueueUrl=self._dlq_url,
            Entries=[
                {
                    "Id": str(number),
                    "ReceiptHandle": letter.receipt_handle,
                    "VisibilityTimeout": seconds,
                }
                for number, letter in enumerate(letters)
            ],
        )

    async def delete(self, letter: Letter) -> bool:
        try:
            await self._aws.call(
                "sqs",
                "delete_message",
                QueueUrl=self._dlq_url,
                ReceiptHandle=letter.receipt_handle,
            )
        except RefusedError as exc:
            if exc.code in GONE:
                return False
            raise
        return True

    async def put(self, letter: Letter, mark: str) -> None:
        await self._aws.call(
            "sqs",
            "send_message",
            QueueUrl=self._dlq_url,
            MessageBody=letter.body,
            MessageGroupId=letter.id,
            MessageDeduplicationId=hashlib.sha256(mark.encode()).hexdigest(),
            MessageAttributes=_attributes(letter.stamped().attributes),
        )

    async def send(self, message: Outgoing) -> str:
        attributes = dict(message.attributes)
        if self._tokens:
            attributes[AUTH_SIGNATURE_ATTRIBUTE] = sign(
                message.body, self._tokens[0], int(time.time())
            )
        answer = await self._aws.call(
            "sqs",
            "send_message",
            QueueUrl=self._queue_url,
            MessageBody=message.body,
            MessageGroupId=message.group_id,
            MessageDeduplicationId=message.deduplication_id,
            MessageAttributes=_attributes(attributes),
        )
        return str(answer["MessageId"])


def _attributes(texts: Mapping[str, str]) -> dict[str, dict[str, str]]:
    """At most ten, ours before a producer's own."""
    ours = [name for name in texts if name in OURS or name == AUTH_SIGNATURE_ATTRIBUTE]
    theirs = [name for name in texts if name not in ours]
    return {
        name: {"DataType": "String", "StringValue": texts[name]}
        for name in [*ours, *theirs][:MAX_ATTRIBUTES]
        if texts[name]
    }
