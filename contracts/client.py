"""The producer's client: put a request on the queue, wait for its result.

boto3 is imported when the first call is made, so that readers of events do without it.
"""

import json
import threading
import time
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from contracts.addressing import deduplication_id, message_group_id
from contracts.auth import AUTH_SIGNATURE_ATTRIBUTE, AUTH_TOKEN_ATTRIBUTE, sign
from contracts.errors import InvalidConfiguration, InvalidRequest, ResultTimeout, ResultUnavailable
from contracts.events import Event, parse_event
from contracts.fields import MAX_MESSAGE_BYTES, too_large
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
    """Sends requests to one queue and reads their results from one job table.

    Safe to share between threads. Calls block: under asyncio use `asyncio.to_thread`. Errors of
    AWS (botocore's exceptions) pass through; `enqueue` may then be repeated with the same job_id.

    Args:
        queue_url: the FIFO job queue.
        job_table: name of the job table; only `wait` needs it.
        token: sent with every message as `auth_token`.
        hmac_secret: signs every message instead, so that the secret itself never travels.
        session: where credentials and region come from; boto3's defaults if None.
        endpoint_url: another address for every AWS service, such as an emulator's.
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
    ) -> None:
        if token and hmac_secret:
            raise InvalidConfiguration(
                "token and hmac_secret are both given; a signature replaces the token"
            )
        self._queue_url = queue_url
        self._job_table = job_table
        self._token = token
        self._hmac_secret = hmac_secret
        self._session = session
        self._endpoint_url = endpoint_url
        self._clients: dict[str, Any] = {}
        self._lock = threading.Lock()

    @classmethod
    def from_env(cls, environ: Mapping[str, str], *, signed: bool = False) -> "Producer":
        """A producer from the worker's own variables.

        QUEUE_URL, and if set JOB_TABLE, SDK_CLIENT_AUTH_TOKEN (the first of several is used, to
        sign if `signed`), AWS_ENDPOINT_URL, AWS_REGION and AWS credentials. Raises
        InvalidConfiguration.
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
        import boto3  # noqa: PLC0415 - see the module's docstring

        return cls(
            environ["QUEUE_URL"],
            environ.get("JOB_TABLE") or None,
            token=None if signed else secret,
            hmac_secret=secret if signed else None,
            session=boto3.Session(
                aws_access_key_id=environ.get("AWS_ACCESS_KEY_ID"),
                aws_secret_access_key=environ.get("AWS_SECRET_ACCESS_KEY"),
                aws_session_token=environ.get("AWS_SESSION_TOKEN"),
                region_name=environ.get("AWS_REGION") or environ.get("AWS_DEFAULT_REGION"),
            ),
            endpoint_url=environ.get("AWS_ENDPOINT_URL") or None,
        )

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
        answer = self._client("sqs").send_message(QueueUrl=self._queue_url, **message)
        return Enqueued(
            job_id, answer["MessageId"], answer["SequenceNumber"], message["MessageGroupId"]
        )

    def wait(self, job_id: str, timeout: float = 300.0, poll: float = 0.2) -> Event:
        """Wait until the job has ended; returns its event, also when it failed or was rejected.

        Args:
            job_id: as `enqueue` returned it.
            timeout: seconds after which ResultTimeout is raised.
            poll: seconds before the second look; doubles from look to look, up to 1 s.

        Raises:
            ResultTimeout: the job may still end; wait again.
            ResultUnavailable: the job has ended without an event.
        """
        if self._job_table is None:
            raise InvalidConfiguration(
                "this producer has no job_table; give it the job table's name"
            )
        deadline = time.monotonic() + timeout
        for pause in poll_intervals(poll):
            item = self._item(job_id)
            state = item.get("state", {}).get("S")
            if state in FINAL_STATES:
                return self._event(job_id, state, item)
            left = deadline - time.monotonic()
            if left <= 0:
                raise ResultTimeout(job_id, timeout, state)
            time.sleep(min(pause, left))
        raise AssertionError("poll_intervals never ends")

    def _item(self, job_id: str) -> dict[str, Any]:
        answer = self._client("dynamodb").get_item(
            TableName=self._job_table,
            Key={"job_id": {"S": job_id}},
            ConsistentRead=True,
            ProjectionExpression="#state, #event",
            ExpressionAttributeNames={"#state": "state", "#event": "event"},
        )
        item: dict[str, Any] = answer.get("Item", {})
        return item

    def _event(self, job_id: str, state: str, item: Mapping[str, Any]) -> Event:
        if "event" not in item:
            raise ResultUnavailable(job_id, state)
        return parse_event(item["event"]["S"])

    def _client(self, service: str) -> Any:  # noqa: ANN401 - boto3 makes clients at run time
        import boto3  # noqa: PLC0415 - see the module's docstring
        from botocore.config import Config  # noqa: PLC0415

        with self._lock:
            if service not in self._clients:
                session = self._session or boto3.Session()
                self._clients[service] = session.client(
                    service,
                    endpoint_url=self._endpoint_url,
                    config=Config(
                        retries={"mode": "standard", "total_max_attempts": 5},
                        # Path style, so that an emulator needs no wildcard DNS; S3 takes both.
                        s3={"addressing_style": "path"},
                    ),
                )
            return self._clients[service]


def build_message(
    request: JobRequest,
    *,
    timestamp: int,
    token: str | None = None,
    hmac_secret: str | None = None,
) -> dict[str, Any]:
    """The arguments of SQS SendMessage for a request that has a job_id, without QueueUrl.

    `timestamp` is the time of signing in Unix seconds. Raises InvalidRequest when the message,
    attributes included, is larger than SQS takes.
    """
    if request.job_id is None:
        raise ValueError("the request has no job_id; give it one")
    body = _encoded(request)
    attributes = {}
    if token:
        attributes[AUTH_TOKEN_ATTRIBUTE] = token
    if hmac_secret:
        attributes[AUTH_SIGNATURE_ATTRIBUTE] = sign(body, hmac_secret, timestamp)
    size = len(body.encode()) + sum(
        len(f"{name}String{value}".encode()) for name, value in attributes.items()
    )
    if size > MAX_MESSAGE_BYTES:
        raise InvalidRequest("invalid_request", [too_large("message", size)])
    return {
        "MessageBody": body,
        "MessageGroupId": message_group_id(request.chat_id, request.thread_id, request.tenant_id),
        "MessageDeduplicationId": deduplication_id(request.job_id),
        "MessageAttributes": {
            name: {"DataType": "String", "StringValue": value} for name, value in attributes.items()
        },
    }


def poll_intervals(first: float) -> Iterator[float]:
    """Seconds between looks, without end: `first`, then doubled up to MAX_POLL_SECONDS."""
    pause = max(first, 0.001)  # zero would stay zero when doubled
    while True:
        yield min(pause, MAX_POLL_SECONDS)
        pause = min(pause * 2, MAX_POLL_SECONDS)


def _encoded(request: JobRequest) -> str:
    """The request as JSON, without what is at its default: a worker older than this client knows
    all that it is sent. U+FFFE and U+FFFF are escaped: SQS takes no message that holds them.
    """
    fields = request.model_dump(mode="json", exclude_defaults=True)
    body = json.dumps(fields, ensure_ascii=False, separators=(",", ":"))
    return body.replace("\ufffe", "\\ufffe").replace("\uffff", "\\uffff")
