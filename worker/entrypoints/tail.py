"""Following result events with a queue of one's own."""

import json
from collections.abc import Iterator
from typing import Any

from contracts.clients import Clients
from contracts.temporary_queue import TemporaryQueue


def follow(topic_arn: str) -> Iterator[dict[str, Any]]:
    """Yields each event published from now on, until it is closed; then the queue is removed."""
    clients = Clients()
    queue, sqs = TemporaryQueue(clients, topic_arn), clients.get("sqs")
    try:
        while True:
            answer = sqs.receive_message(
                QueueUrl=queue.url, WaitTimeSeconds=5, MaxNumberOfMessages=10
            )
            for message in answer.get("Messages", []):
                yield json.loads(message["Body"])
                sqs.delete_message(QueueUrl=queue.url, ReceiptHandle=message["ReceiptHandle"])
    except KeyboardInterrupt:
        return
    finally:
        queue.remove()
