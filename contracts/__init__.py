"""The contract with the agent worker: requests in, events out. Needs only pydantic.

with Producer.from_env(os.environ) as producer:  # a bot's side; boto3 is loaded when it is used
    sent = producer.enqueue(user_message="Hello", chat_id="123", progress="text")
    for event in producer.stream(sent.job_id):  # JobStartedEvent, JobProgressEvent ...
        print(event.type)
    print(event.data.response)  # ... the last one is what ended the job

producer.wait(sent.job_id)  # the final event alone
producer.cancel(sent.job_id)

event = parse_event(notification_body)  # a subscriber's side; raises InvalidEvent
verify_webhook(headers, body, [secret])  # before a webhook's body is read; raises InvalidSignature

request = JobRequest.parse(message_body)  # the worker's side; raises InvalidRequest

For asyncio: contracts.aio.AsyncProducer.
"""

from contracts.addressing import deduplication_id, event_id, message_group_id, session_key
from contracts.auth import authorized, sign, verify_signature, verify_token
from contracts.client import Enqueued, Producer
from contracts.envelope import CloudEvent
from contracts.errors import (
    ContractError,
    FeedClosed,
    InvalidConfiguration,
    InvalidEvent,
    InvalidRequest,
    InvalidSignature,
    ResultTimeout,
    ResultUnavailable,
)
from contracts.events import Event, FinalEvent, StreamEvent, parse_event
from contracts.messages import build_message
from contracts.outcomes import (
    JobCancelled,
    JobCancelledEvent,
    JobCompleted,
    JobCompletedEvent,
    JobFailed,
    JobFailedEvent,
    JobRejected,
    JobRejectedEvent,
    ResponseRef,
)
from contracts.progress import JobProgress, JobProgressEvent, JobStarted, JobStartedEvent
from contracts.request import JobOptions, JobRequest
from contracts.webhook_events import (
    WebhookDisabled,
    WebhookDisabledEvent,
    WebhookTest,
    WebhookTestEvent,
)
from contracts.webhooks import new_webhook_secret, sign_webhook, verify_webhook

__all__ = [
    "CloudEvent",
    "ContractError",
    "Enqueued",
    "Event",
    "FeedClosed",
    "FinalEvent",
    "InvalidConfiguration",
    "InvalidEvent",
    "InvalidRequest",
    "InvalidSignature",
    "JobCancelled",
    "JobCancelledEvent",
    "JobCompleted",
    "JobCompletedEvent",
    "JobFailed",
    "JobFailedEvent",
    "JobOptions",
    "JobProgress",
    "JobProgressEvent",
    "JobRejected",
    "JobRejectedEvent",
    "JobRequest",
    "JobStarted",
    "JobStartedEvent",
    "Producer",
    "ResponseRef",
    "ResultTimeout",
    "ResultUnavailable",
    "StreamEvent",
    "WebhookDisabled",
    "WebhookDisabledEvent",
    "WebhookTest",
    "WebhookTestEvent",
    "authorized",
    "build_message",
    "deduplication_id",
    "event_id",
    "message_group_id",
    "new_webhook_secret",
    "parse_event",
    "session_key",
    "sign",
    "sign_webhook",
    "verify_signature",
    "verify_token",
    "verify_webhook",
]
