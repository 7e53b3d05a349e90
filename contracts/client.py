"""The client of a bot: put a request on the queue, follow it, wait for its result, cancel it.

boto3 is imported when the first call is made, so that readers of events do without it.
"""

import threading
import time
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Self

from contracts.clients import Clients, session_from_env
from contracts.control import cancel_item
from contracts.errors import (
    FeedClosed,
    InvalidConfiguration,
    ResultTimeout,
    ResultUnavailable,
)
from contracts.events import FinalEvent, StreamEvent, parse_event
from contracts.feed import EventFeed, Mailbox
from contracts.following import Done, Following, Look, Show, Wait
from contracts.messages import build_message
from contracts.outcomes import JobRejected
from contracts.request import JobRequest

if TYPE_CHECKING:
    import boto3

FINAL_STATES: Final = frozenset({"published", "rejected", "failed", "cancelled"})
"""States of a job's record after which its result no longer changes."""

MAX_POLL_SECONDS: Final = 1.0


@dataclass(frozen=True, slots=True)
class Enqueued:
    """A message that SQS has accepted."""

    job_id: str
    message_id: str
    sequence_number: str
    message_group_id: str


class Producer:
    """Sends requests to one queue, and follows what becomes of them.

    Safe to share between threads. Calls block; `contracts.aio.AsyncProducer` is the same for
    asyncio. Errors of AWS (botocore's exceptions) pass through; `enqueue` may then be repeated with
    the same job_id.

    As a context manager it listens to events from the beginning, and stops at the end. Without
    `with`, the first `stream` begins to listen, and `close` stops.

    Args:
        queue_url: the FIFO job queue.
        job_table: name of the job table; only `enqueue` does without it.
        token: sent with every message as `auth_token`.
        hmac_secret: signs every message instead, so that the secret itself never travels.
        session: where credentials and region come from; boto3's defaults if None.
        endpoint_url: another address for every AWS service, such as an emulator's.
        bot_queue_url: this process's own queue of events, for `stream`; or
        topic_arn: the result topic, to which a temporary queue is subscribed for `stream`.
    """

    def __init__(
        self,
        queue_url: str,
        job_table: str | None = None,
        *,
        token: str | None = None,
        hmac_secret: str | None = None,
        session: "boto3.Session | None" = None,
        endpoint_url: str | None = None,
        bot_queue_url: str | None = None,
        topic_arn: str | None = None,
    ) -> None:
        if token and hmac_secret:
            raise InvalidConfiguration(
                "token and hmac_secret are both given; a signature replaces the token"
            )
        self._queue_url = queue_url
        self._job_table = job_table
        self._token = token
        self._hmac_secret = hmac_secret
        self._clients = Clients(session, endpoint_url)
        self._events_from = {"queue_url": bot_queue_url, "topic_arn": topic_arn}
        self._feed: EventFeed | None = None
        self._lock = threading.Lock()

    @classmethod
    def from_env(cls, environ: Mapping[str, str], *, signed: bool = False) -> Self:
        """A producer from the worker's own variables.

        QUEUE_URL, and if set JOB_TABLE, SDK_CLIENT_AUTH_TOKEN (the first of several is used, to
        sign if `signed`), RESULT_TOPIC_ARN or BOT_QUEUE_URL, AWS_ENDPOINT_URL, AWS_REGION and AWS
        credentials. Raises InvalidConfiguration.
        """
        if not environ.get("QUEUE_URL"):
            raise InvalidConfiguration("QUEUE_URL is not set; set it to the URL of the job queue")
        secret = environ.get("SDK_CLIENT_AUTH_TOKEN", "").split(",")[0].strip() or None
        if secret and secret.startswith(("secretsmanager://", "ssm://")):
            raise InvalidConfiguration(
                "SDK_CLIENT_AUTH_TOKEN is a reference, which only the worker resolves; "
                "give the producer the token itself"
            )
        if signed and not secret:
            raise InvalidConfiguration(
                "SDK_CLIENT_AUTH_TOKEN is not set; set it to the secret to sign with"
            )
        return cls(
            environ["QUEUE_URL"],
            environ.get("JOB_TABLE") or None,
            token=None if signed else secret,
            hmac_secret=secret if signed else None,
            session=session_from_env(environ),
            endpoint_url=environ.get("AWS_ENDPOINT_URL") or None,
            bot_queue_url=environ.get("BOT_QUEUE_URL") or None,
            topic_arn=environ.get("RESULT_TOPIC_ARN") or None,
        )

    def __enter__(self) -> Self:
        """Listen to events from now on, if there is a place to hear them."""
        if any(self._events_from.values()):
            self.listen()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def listen(self) -> EventFeed:
        """Begin to listen to events, unless this has been done.

        Raises InvalidConfiguration without bot_queue_url and topic_arn.
        """
        with self._lock:
            if self._feed is None:
                self._feed = EventFeed(self._clients, **self._events_from)
            return self._feed

    def close(self) -> None:
        """Stop listening: a temporary queue is removed, and a `stream` that waits ends with
        FeedClosed. Takes up to five seconds with a queue of one's own.
        """
        with self._lock:
            feed, self._feed = self._feed, None
        if feed is not None:
            feed.close()

    def enqueue(self, request: JobRequest | None = None, /, **fields: object) -> Enqueued:
        """Send a request, given as a model or as its fields.

        Without a job_id it gets a new one. Sent again with the same job_id, it still has one
        effect. Raises InvalidRequest before anything is sent.
        """
        if request is not None and fields:
            raise TypeError("give a request or its fields, not both")
        checked = JobRequest.from_fields(fields) if request is None else request
        job_id = checked.job_id or f"j-{uuid.uuid4().hex}"
        message = build_message(
            checked.model_copy(update={"job_id": job_id}),
            token=self._token,
            hmac_secret=self._hmac_secret,
            timestamp=int(time.time()),
        )
        if (feed := self._feed) is not None:
            feed.expect(job_id)
        answer = self._client("sqs").send_message(QueueUrl=self._queue_url, **message)
        return Enqueued(
            job_id, answer["MessageId"], answer["SequenceNumber"], message["MessageGroupId"]
        )

    def wait(self, job_id: str, timeout: float = 300.0, poll: float = 0.2) -> FinalEvent:
        """Wait until the job has ended; returns its event, also when it failed or was rejected.

        Args:
            job_id: as `enqueue` returned it.
            timeout: seconds after which ResultTimeout is raised.
            poll: seconds before the second look; doubles from look to look, up to 1 s.

        Raises:
            ResultTimeout: the job may still end; wait again.
            ResultUnavailable: the job has ended without an event.
        """
        deadline = time.monotonic() + timeout
        for pause in poll_intervals(poll):
            state, event = self.look(job_id)
            if event is not None:
                self._forget(job_id)
                return event
            left = deadline - time.monotonic()
            if left <= 0:
                raise ResultTimeout(job_id, timeout, state)
            time.sleep(min(pause, left))
        raise AssertionError("poll_intervals never ends")

    def stream(self, job_id: str, timeout: float = 300.0) -> Iterator[StreamEvent]:
        """The job's events as they come: in order, each once, the last one is what ended it.

        What has happened since `enqueue` comes first, if this producer was listening. How much
        there is before the last event is the request's `progress`. Progress may be missing; the
        last event is not: after five seconds without an event the job's record is looked at. Who
        reads slowly is not shown texts that a later one has overtaken.

        Args:
            job_id: as `enqueue` returned it.
            timeout: seconds after which ResultTimeout is raised.

        Raises:
            ResultTimeout: the job may still end; stream again.
            ResultUnavailable: the job has ended without an event.
            FeedClosed: the producer was closed before the job had ended.
        """
        feed = self.listen()
        mailbox = feed.follow(job_id)
        news = threading.Event()
        mailbox.wake = news.set
        try:
            following = self.following(mailbox, timeout)
            while True:
                news.clear()
                collect(mailbox, following)
                match following.step(time.monotonic()):
                    case Show(event):
                        yield event
                    case Look():
                        following.looked(*self.look(job_id), time.monotonic())
                    case Wait(seconds):
                        if feed.closed:
                            raise FeedClosed(job_id)
                        news.wait(seconds)
                    case Done():
                        return
        finally:
            feed.release(mailbox)

    def response(self, event: FinalEvent) -> str:
        """The whole answer, also when it was too large for its event and lies in S3: then it takes
        s3:GetObject on `results/*` of the session bucket. Empty when there is none.
        """
        data = event.data
        if isinstance(data, JobRejected):
            return ""
        if data.response_ref is None:
            return data.response
        ref = data.response_ref
        body = self._client("s3").get_object(Bucket=ref.bucket, Key=ref.key)["Body"]
        return str(body.read().decode())

    def cancel(self, job_id: str, requested_by: str | None = None) -> None:
        """Ask for a job to be stopped: one that runs within about a second, one that waits before
        it begins. A `cancelled` event follows, unless the job has ended before: `wait` and `stream`
        tell which. Repeating it changes nothing.

        Args:
            job_id: as `enqueue` returned it.
            requested_by: who asks, up to 200 characters; told in the event.
        """
        item = cancel_item(job_id, time.time(), requested_by)
        self._client("dynamodb").put_item(TableName=self._table(), Item=item)

    def look(self, job_id: str) -> tuple[str | None, FinalEvent | None]:
        """What the job's record says now: its state, None if no worker has taken it, and its event
        once it has ended. Raises ResultUnavailable.
        """
        answer = self._client("dynamodb").get_item(
            TableName=self._table(),
            Key={"job_id": {"S": job_id}},
            ConsistentRead=True,
            ProjectionExpression="#state, #event",
            ExpressionAttributeNames={"#state": "state", "#event": "event"},
        )
        item: dict[str, Any] = answer.get("Item", {})
        state: str | None = item.get("state", {}).get("S")
        if state not in FINAL_STATES:
            return state, None
        event = parse_event(item["event"]["S"]) if "event" in item else None
        if not isinstance(event, FinalEvent):
            raise ResultUnavailable(job_id, str(state))
        return state, event

    def following(self, mailbox: Mailbox, timeout: float) -> Following:
        """The decisions of a reader of the mailbox."""
        return Following(
            mailbox.job_id,
            time.monotonic(),
            timeout,
            look=self._job_table is not None,
            late=mailbox.late,
        )

    def _forget(self, job_id: str) -> None:
        if (feed := self._feed) is not None:
            feed.forget(job_id)

    def _table(self) -> str:
        if self._job_table is None:
            raise InvalidConfiguration(
                "this producer has no job_table; give it the job table's name"
            )
        return self._job_table

    def _client(self, service: str) -> Any:  # noqa: ANN401 - boto3 makes clients at run time
        return self._clients.get(service)


def collect(mailbox: Mailbox, following: Following) -> None:
    """Hand over what has arrived."""
    while (event := mailbox.take()) is not None:
        following.arrived(event, time.monotonic())


def poll_intervals(first: float) -> Iterator[float]:
    """Seconds between looks, without end: `first`, then doubled up to MAX_POLL_SECONDS."""
    pause = max(first, 0.001)  # zero would stay zero when doubled
    while True:
        yield min(pause, MAX_POLL_SECONDS)
        pause = min(pause * 2, MAX_POLL_SECONDS)
