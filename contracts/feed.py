"""A bot's own view of the events: one queue, one thread, and a mailbox for each job.

The queue is the bot's, subscribed to the result topic, or a temporary one. What arrives in it is a
hint and may be lost; the job table holds every result. So messages are deleted as they are read.
"""

import atexit
import json
import logging
import threading
from collections import deque
from collections.abc import Callable
from typing import Any, Final

from contracts.clients import Clients
from contracts.errors import InvalidConfiguration, InvalidEvent
from contracts.events import Event, StreamEvent, parse_event
from contracts.temporary_queue import TemporaryQueue

POLL_SECONDS: Final = 5
"""How long one call waits for messages, and so how long closing a queue of one's own may take."""

MAX_EXPECTED: Final = 1_000
"""Jobs whose events are kept although nobody follows them yet; then the oldest are forgotten."""

MAX_WAITING: Final = 100
"""Events of one job that wait for a slow reader; then the oldest are forgotten."""

_LONGEST_PAUSE: Final = 30.0

_log = logging.getLogger("contracts.feed")


class Mailbox:
    """One job's events on their way to its reader.

    `late`: some may have passed before it was opened. `wake` is called, in the feed's thread, when
    there is something to take or the feed was closed.
    """

    def __init__(self, job_id: str, *, late: bool) -> None:
        self.job_id = job_id
        self.late = late
        self.wake: Callable[[], None] = _nobody
        self._events: deque[StreamEvent] = deque(maxlen=MAX_WAITING)

    def put(self, event: StreamEvent) -> None:
        self._events.append(event)
        self.wake()

    def take(self) -> StreamEvent | None:
        """The oldest event, or None."""
        return self._events.popleft() if self._events else None


def _nobody() -> None:
    """Nobody waits yet."""


class EventFeed:
    """Events of many jobs through one queue, polled by one thread from now until `close`.

    Processes that share a queue take each other's events: give every process its own. Safe to
    share between threads.

    Args:
        clients: the AWS clients.
        queue_url: a queue that is subscribed to the result topic, or to the event bus; or
        topic_arn: the result topic; a temporary queue is subscribed to it, and removed by `close`
            or at the interpreter's exit.

    Errors of AWS while the temporary queue is made pass through. Those of polling are logged
    (logger `contracts.feed`) and polling goes on.
    """

    def __init__(
        self, clients: Clients, *, queue_url: str | None = None, topic_arn: str | None = None
    ) -> None:
        if not (queue_url or topic_arn):
            raise InvalidConfiguration(
                "neither BOT_QUEUE_URL nor RESULT_TOPIC_ARN is set: set the URL of this bot's "
                "queue of events, or the topic that a temporary one is subscribed to"
            )
        self._sqs = clients.get("sqs")
        self._temporary = None if queue_url else TemporaryQueue(clients, topic_arn or "")
        self.queue_url = queue_url or (self._temporary and self._temporary.url) or ""
        self._mailboxes: dict[str, list[Mailbox]] = {}
        self._expected: dict[str, Mailbox] = {}
        self._lock = threading.Lock()
        self._closing = threading.Event()
        # A daemon, so that a bot that forgets `close` can end; `close` then runs at its exit.
        self._thread = threading.Thread(target=self._poll, name="event-feed", daemon=True)
        self._thread.start()
        atexit.register(self.close)

    @property
    def closed(self) -> bool:
        return self._closing.is_set()

    def expect(self, job_id: str) -> None:
        """Keep the events of a job that is about to be sent, until somebody follows it."""
        with self._lock:
            if job_id in self._mailboxes:
                return
            if len(self._expected) >= MAX_EXPECTED:
                self._remove(next(iter(self._expected.values())))
            self._expected[job_id] = self._add(Mailbox(job_id, late=False))

    def follow(self, job_id: str) -> Mailbox:
        """A mailbox of the job's events; `release` it in the end."""
        with self._lock:
            expected = self._expected.pop(job_id, None)
            return expected or self._add(Mailbox(job_id, late=True))

    def forget(self, job_id: str) -> None:
        """Nobody is going to follow the job."""
        with self._lock:
            if (expected := self._expected.get(job_id)) is not None:
                self._remove(expected)

    def release(self, mailbox: Mailbox) -> None:
        """Nobody reads the mailbox any more."""
        with self._lock:
            self._remove(mailbox)

    def close(self) -> None:
        """End the polling, wake who waits, and remove a temporary queue."""
        with self._lock:
            if self.closed:
                return
            self._closing.set()
            waiting = [box for boxes in self._mailboxes.values() for box in boxes]
        for box in waiting:
            box.wake()
        atexit.unregister(self.close)
        if self._temporary is not None:
            self._temporary.interrupt()
        self._thread.join(2 * POLL_SECONDS)
        if self._temporary is not None:
            self._temporary.remove()

    def _add(self, mailbox: Mailbox) -> Mailbox:
        self._mailboxes.setdefault(mailbox.job_id, []).append(mailbox)
        return mailbox

    def _remove(self, mailbox: Mailbox) -> None:
        self._expected.pop(mailbox.job_id, None)
        boxes = self._mailboxes.get(mailbox.job_id, [])
        if mailbox in boxes:
            boxes.remove(mailbox)
        if not boxes:
            self._mailboxes.pop(mailbox.job_id, None)

    def _poll(self) -> None:
        pause = 1.0
        while not self.closed:
            try:
                self._receive()
                pause = 1.0
            except Exception as exc:  # noqa: BLE001 - whatever it is, the next call may work
                _log.warning("the queue of events %s cannot be read: %s", self.queue_url, exc)
                self._closing.wait(pause)
                pause = min(2 * pause, _LONGEST_PAUSE)

    def _receive(self) -> None:
        answer = self._sqs.receive_message(
            QueueUrl=self.queue_url, WaitTimeSeconds=POLL_SECONDS, MaxNumberOfMessages=10
        )
        messages = answer.get("Messages", [])
        for message in messages:
            self._deliver(message["Body"])
        if messages:
            self._sqs.delete_message_batch(
                QueueUrl=self.queue_url,
                Entries=[
                    {"Id": str(number), "ReceiptHandle": message["ReceiptHandle"]}
                    for number, message in enumerate(messages)
                ],
            )

    def _deliver(self, body: str) -> None:
        try:
            event = read_event(body)
        except InvalidEvent as exc:
            _log.debug("a message is no event: %s", exc.code)
            return
        if not isinstance(event, StreamEvent):
            return
        with self._lock:
            boxes = list(self._mailboxes.get(event.data.job_id, ()))
        for box in boxes:
            box.put(event)


def read_event(body: str) -> Event:
    """The event in a message: bare (raw delivery), in an SNS notification or from EventBridge.

    Raises InvalidEvent.
    """
    try:
        envelope: Any = json.loads(body)
    except ValueError:
        return parse_event(body)  # says what is wrong
    if isinstance(envelope, dict):
        if envelope.get("Type") == "Notification":
            return parse_event(str(envelope.get("Message")))
        if isinstance(envelope.get("detail"), dict):
            return parse_event(envelope["detail"])
    return parse_event(body)
