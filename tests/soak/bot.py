"""The bot's side: sends, and listens on the topic and on the bus."""

import json
import threading
import time
import uuid
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import boto3

from tests.soak.workload import Order

_POLL_SECONDS = 1


@dataclass(frozen=True, slots=True)
class Sent:
    """An order as it was first sent; `at` is in epoch seconds."""

    job_id: str
    order: Order
    at: float


class Bot:
    """Sends orders with boto3 alone, as an existing producer does."""

    def __init__(self, queue_url: str, token: str) -> None:
        self._sqs = boto3.client("sqs")
        self._queue_url = queue_url
        self._token = token
        self.sent: dict[str, Sent] = {}
        self.messages = 0

    def send(self, order: Order) -> None:
        """Each sending is a message of its own, that SQS does not take for a repeat; its id looks
        as if SQS had dead-lettered it, so that the ledger is asked for an earlier job.
        """
        token = self._token if order.authorized else "of-somebody-else"
        answer = self._sqs.send_message(
            QueueUrl=self._queue_url,
            MessageBody=order.body,
            MessageGroupId=order.group,
            MessageDeduplicationId=str(uuid.uuid4()),
            MessageAttributes={"auth_token": {"DataType": "String", "StringValue": token}},
        )
        self.messages += 1
        job_id = order.job_id or f"sqs-{answer['MessageId']}"
        self.sent.setdefault(job_id, Sent(job_id, order, time.time()))

    def waiting(self) -> int:
        """Messages that the queue holds, visible or in flight."""
        return waiting(self._queue_url)


@dataclass(frozen=True, slots=True)
class Heard:
    """An event as it arrived; `at` is in epoch seconds."""

    body: dict[str, Any]
    at: float


class Listener:
    """A queue of its own that receives all that is published on one way, while the block runs."""

    def __init__(
        self, name: str, subscribe: Callable[[str], None], read: Callable[[str], dict[str, Any]]
    ) -> None:
        """`subscribe` is given the queue's ARN; `read` finds the event in a message's body."""
        self._sqs = boto3.client("sqs")
        self._read = read
        self._url = self._sqs.create_queue(QueueName=name)["QueueUrl"]
        arn = self._sqs.get_queue_attributes(QueueUrl=self._url, AttributeNames=["QueueArn"])
        subscribe(arn["Attributes"]["QueueArn"])
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._follow, name=name, daemon=True)
        self._lock = threading.Lock()
        self._heard: dict[str, list[Heard]] = defaultdict(list)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._ending.set()
        self._thread.join()

    def heard(self) -> dict[str, list[Heard]]:
        """All events so far by job, in the order of their arrival."""
        with self._lock:
            return {job_id: list(events) for job_id, events in self._heard.items()}

    def _follow(self) -> None:
        while not self._ending.is_set():
            answer = self._sqs.receive_message(
                QueueUrl=self._url, WaitTimeSeconds=_POLL_SECONDS, MaxNumberOfMessages=10
            )
            for message in answer.get("Messages", []):
                event = self._read(message["Body"])
                with self._lock:
                    self._heard[event["subject"]].append(Heard(event, time.time()))
                self._sqs.delete_message(QueueUrl=self._url, ReceiptHandle=message["ReceiptHandle"])


def topic_listener(name: str, topic_arn: str) -> Listener:
    def subscribe(queue_arn: str) -> None:
        boto3.client("sns").subscribe(
            TopicArn=topic_arn,
            Protocol="sqs",
            Endpoint=queue_arn,
            Attributes={"RawMessageDelivery": "true"},
        )

    return Listener(f"{name}-topic", subscribe, json.loads)


def bus_listener(name: str, bus_name: str) -> Listener:
    def subscribe(queue_arn: str) -> None:
        events = boto3.client("events")
        rule = {"Name": name, "EventBusName": bus_name}
        events.put_rule(**rule, EventPattern='{"source": ["agent-worker"]}')
        events.put_targets(
            Rule=name, EventBusName=bus_name, Targets=[{"Id": "1", "Arn": queue_arn}]
        )

    return Listener(f"{name}-bus", subscribe, lambda body: json.loads(body)["detail"])


def waiting(queue_url: str) -> int:
    """Messages that a queue holds, visible or in flight."""
    names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
    answer = boto3.client("sqs").get_queue_attributes(QueueUrl=queue_url, AttributeNames=names)
    return sum(int(answer["Attributes"][name]) for name in names)


def dead_letters(queue_url: str) -> dict[str, list[dict[str, str]]]:
    """Takes all messages of the dead-letter queue; their attributes by job."""
    sqs = boto3.client("sqs")
    found: dict[str, list[dict[str, str]]] = defaultdict(list)
    while True:
        messages = sqs.receive_message(
            QueueUrl=queue_url, MaxNumberOfMessages=10, MessageAttributeNames=["All"]
        ).get("Messages", [])
        if not messages:
            return dict(found)
        for message in messages:
            attributes = message.get("MessageAttributes", {})
            letter = {name: item["StringValue"] for name, item in attributes.items()}
            found[letter.get("job_id", message["MessageId"])].append(letter)
            sqs.delete_message(QueueUrl=queue_url, ReceiptHandle=message["ReceiptHandle"])
