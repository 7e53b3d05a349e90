"""A queue that receives the events of a topic for as long as somebody looks."""

import contextlib
import json
import logging
import uuid
from typing import Any, Final

from contracts.clients import Clients

NAME_PREFIX: Final = "agent-worker-events-"
"""A process that was killed leaves its queue; its name begins so."""

RETENTION_SECONDS: Final = 300

_log = logging.getLogger("contracts.feed")


class TemporaryQueue:
    """Created and subscribed to the topic at once; `remove` it in the end.

    Needs sqs:CreateQueue, GetQueueAttributes, SetQueueAttributes and DeleteQueue on
    `agent-worker-events-*`, sns:Subscribe on the topic, and sns:Unsubscribe.
    """

    def __init__(self, clients: Clients, topic_arn: str) -> None:
        self._sqs, self._sns = clients.get("sqs"), clients.get("sns")
        self._subscription: str | None = None
        self.url: str = self._sqs.create_queue(
            QueueName=f"{NAME_PREFIX}{uuid.uuid4().hex[:12]}",
            Attributes={"MessageRetentionPeriod": str(RETENTION_SECONDS)},
        )["QueueUrl"]
        try:
            self._subscribe(topic_arn)
        except BaseException:
            self.remove()
            raise

    def interrupt(self) -> None:
        """End a call that waits for messages, by a message that is no event."""
        with contextlib.suppress(Exception):
            self._sqs.send_message(QueueUrl=self.url, MessageBody="{}")

    def remove(self) -> None:
        """Unsubscribe and delete the queue. What cannot be removed is logged."""
        try:
            if self._subscription is not None:
                self._sns.unsubscribe(SubscriptionArn=self._subscription)
            self._sqs.delete_queue(QueueUrl=self.url)
        except Exception as exc:  # noqa: BLE001 - the bot goes on, or ends
            _log.warning("the temporary queue %s is left behind: %s", self.url, exc)

    def _subscribe(self, topic_arn: str) -> None:
        attributes = self._sqs.get_queue_attributes(QueueUrl=self.url, AttributeNames=["QueueArn"])
        arn = attributes["Attributes"]["QueueArn"]
        policy = json.dumps(_may_send(topic_arn, arn))
        self._sqs.set_queue_attributes(QueueUrl=self.url, Attributes={"Policy": policy})
        self._subscription = self._sns.subscribe(
            TopicArn=topic_arn,
            Protocol="sqs",
            Endpoint=arn,
            Attributes={"RawMessageDelivery": "true"},
            ReturnSubscriptionArn=True,
        )["SubscriptionArn"]


def _may_send(topic_arn: str, queue_arn: str) -> dict[str, Any]:
    return {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Effect": "Allow",
                "Principal": {"Service": "sns.amazonaws.com"},
                "Action": "sqs:SendMessage",
                "Resource": queue_arn,
                "Condition": {"ArnEquals": {"aws:SourceArn": topic_arn}},
            }
        ],
    }
