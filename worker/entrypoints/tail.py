"""Following result events with a queue of one's own."""

import contextlib
import json
import uuid
from collections.abc import Iterator
from typing import Any

import boto3


def follow(topic_arn: str) -> Iterator[dict[str, Any]]:
    """Yields each event published from now on, until it is closed; then the queue is removed."""
    sqs, sns = boto3.client("sqs"), boto3.client("sns")
    url = sqs.create_queue(
        QueueName=f"agent-worker-tail-{uuid.uuid4().hex[:12]}",
        Attributes={"MessageRetentionPeriod": "3600"},
    )["QueueUrl"]
    subscription = None
    try:
        arn = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"][
            "QueueArn"
        ]
        sqs.set_queue_attributes(
            QueueUrl=url, Attributes={"Policy": json.dumps(_may_send(topic_arn, arn))}
        )
        subscription = sns.subscribe(
            TopicArn=topic_arn,
            Protocol="sqs",
            Endpoint=arn,
            Attributes={"RawMessageDelivery": "true"},
            ReturnSubscriptionArn=True,
        )["SubscriptionArn"]
        while True:
            answer = sqs.receive_message(QueueUrl=url, WaitTimeSeconds=5, MaxNumberOfMessages=10)
            for message in answer.get("Messages", []):
                yield json.loads(message["Body"])
                sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
    except KeyboardInterrupt:
        return
    finally:
        with contextlib.suppress(Exception):
            if subscription:
                sns.unsubscribe(SubscriptionArn=subscription)
        sqs.delete_queue(QueueUrl=url)


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
