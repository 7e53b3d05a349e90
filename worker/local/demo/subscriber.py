"""A subscriber of the result topic: an SQS queue, and a thread that reads it."""

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import Any, Self

from contracts import FinalEvent, parse_event
from worker.local.demo.claims import ClaimError

_POLL_SECONDS = 1
_PATIENCE_SECONDS = 90.0


class Subscriber:
    """Calls `on_event` in its thread for each result published while the `with` block runs."""

    def __init__(
        self, topic: str, client: Callable[[str], Any], on_event: Callable[[FinalEvent], None]
    ) -> None:
        self._topic = topic
        self._sqs, self._sns = client("sqs"), client("sns")
        self._on_event = on_event
        self._received: list[FinalEvent] = []
        self._arrival = threading.Condition()
        self._ending = threading.Event()
        self._thread = ThreadPoolExecutor(max_workers=1)

    def __enter__(self) -> Self:
        queue = self._sqs.create_queue(QueueName="demo-subscriber")["QueueUrl"]
        arn = self._sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["QueueArn"])
        self._sns.subscribe(
            TopicArn=self._topic,
            Protocol="sqs",
            Endpoint=arn["Attributes"]["QueueArn"],
            Attributes={"RawMessageDelivery": "true"},
        )
        self._following = self._thread.submit(self._follow, queue)
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._ending.set()  # queue and subscription end with the stack
        self._thread.shutdown()

    def received(self) -> list[FinalEvent]:
        """All results so far, in the order of their arrival."""
        with self._arrival:
            return list(self._received)

    def wait_for(self, job_id: str) -> None:
        """Until the job's event has arrived. Raises ClaimError when it does not come."""
        deadline = time.monotonic() + _PATIENCE_SECONDS
        with self._arrival:
            while not any(event.subject == job_id for event in self._received):
                if self._following.done():
                    self._following.result()  # raises what ended it
                if time.monotonic() > deadline:
                    raise ClaimError(
                        f"no result of job {job_id} has reached the subscriber within "
                        f"{_PATIENCE_SECONDS:.0f} seconds"
                    )
                self._arrival.wait(_POLL_SECONDS)

    def _follow(self, queue: str) -> None:
        while not self._ending.is_set():
            answer = self._sqs.receive_message(
                QueueUrl=queue, WaitTimeSeconds=_POLL_SECONDS, MaxNumberOfMessages=10
            )
            for message in answer.get("Messages", []):
                event = parse_event(message["Body"])
                if isinstance(event, FinalEvent):
                    self._on_event(event)
                    with self._arrival:
                        self._received.append(event)
                        self._arrival.notify_all()
                self._sqs.delete_message(QueueUrl=queue, ReceiptHandle=message["ReceiptHandle"])
