"""The job queue and its dead-letter queue: there, and set as the worker's guarantees need it."""

import json
from collections.abc import Mapping
from dataclasses import dataclass

from worker.operations.doctor.finding import Finding, ok, problem, unchecked, warning
from worker.operations.doctor.probe import Caller, allowed, ask, reached

DAYS_14 = 1_209_600
JOB_QUEUE, DEAD = "job queue", "dead-letter queue"

_STALE = frozenset({"ReceiptHandleIsInvalid", "InvalidParameterValue", "MessageNotInflight"})

_TEMPLATE = "as infra/resources.yml has it; deploy that, or set it on the queue"


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the worker's settings ask of its queue. Seconds."""

    lease_seconds: float
    max_attempts: int


async def examine_queues(
    aws: Caller, queue_url: str, dlq_url: str, wanted: Wanted | None
) -> list[Finding]:
    """Both queues; without `wanted` nothing is compared with the worker's settings."""
    found: list[Finding] = []
    attributes: dict[str, Mapping[str, str]] = {}
    for area, url, setting in ((JOB_QUEUE, queue_url, "QUEUE_URL"), (DEAD, dlq_url, "DLQ_URL")):
        outcome = await ask(
            aws, "sqs", "get_queue_attributes", QueueUrl=url, AttributeNames=["All"]
        )
        finding = reached(outcome, area, url, setting, "sqs:GetQueueAttributes")
        if finding is not None:
            found.append(finding)
            continue
        attributes[area] = outcome.answer.get("Attributes", {})
        found += _shape(area, attributes[area])
    if JOB_QUEUE in attributes:
        job = attributes[JOB_QUEUE]
        found += _redrive(job, attributes.get(DEAD), wanted)
        if wanted is not None:
            found.append(_visibility(job, wanted))
        found += await _rights(aws, queue_url)
    return found


def _shape(area: str, attributes: Mapping[str, str]) -> list[Finding]:
    found = []
    if attributes.get("FifoQueue") == "true":
        found.append(ok(area, "fifo", "is a FIFO queue"))
    else:
        found.append(
            problem(area, "fifo", "is not a FIFO queue: chats would lose their order", _TEMPLATE)
        )
    if attributes.get("ContentBasedDeduplication") == "true":
        found.append(
            problem(
                area,
                "deduplication",
                "deduplicates by content: the second of two equal messages within five minutes is "
                "swallowed",
                "set ContentBasedDeduplication to false; producers name each message",
            )
        )
    else:
        found.append(ok(area, "deduplication", "messages are told apart by their names"))
    retention = int(attributes.get("MessageRetentionPeriod", DAYS_14))
    if retention < DAYS_14:
        found.append(
            warning(
                area,
                "retention",
                f"keeps messages for {retention / 86400:g} days, and then drops them",
                "set MessageRetentionPeriod to 1209600, the maximum of 14 days",
            )
        )
    else:
        found.append(ok(area, "retention", "keeps messages for 14 days"))
    return found


def _redrive(
    job: Mapping[str, str], dead: Mapping[str, str] | None, wanted: Wanted | None
) -> list[Finding]:
    policy = json.loads(job.get("RedrivePolicy", "{}"))
    target, receives = policy.get("deadLetterTargetArn"), int(policy.get("maxReceiveCount", 0))
    if not target:
        return [
            problem(
                JOB_QUEUE,
                "redrive",
                "has no dead-letter queue of its own: a message that ends its worker each time "
                "would hold its chat for 14 days",
                f"set a RedrivePolicy to the queue of DLQ_URL, {_TEMPLATE}",
            )
        ]
    found = []
    if dead is not None and dead.get("QueueArn") != target:
        found.append(
            problem(
                JOB_QUEUE,
                "redrive",
                f"SQS moves messages to {target}, and the worker to {dead.get('QueueArn')}",
                "make the RedrivePolicy and DLQ_URL name the same queue",
            )
        )
    else:
        found.append(ok(JOB_QUEUE, "redrive", f"redrives to DLQ_URL after {receives} receives"))
    if wanted is not None and receives <= 2 * wanted.max_attempts:
        found.append(
            problem(
                JOB_QUEUE,
                "max_receives",
                f"SQS gives a message up after {receives} receives, and the worker after "
                f"{wanted.max_attempts} attempts (MAX_ATTEMPTS); waiting for a lease receives, too",
                "set maxReceiveCount to 100, or far above MAX_ATTEMPTS",
            )
        )
    return found


def _visibility(job: Mapping[str, str], wanted: Wanted) -> Finding:
    seconds = int(job.get("VisibilityTimeout", 30))
    if seconds < wanted.lease_seconds:
        return problem(
            JOB_QUEUE,
            "visibility_timeout",
            f"a message is visible again after {seconds} s, before a lease of "
            f"{wanted.lease_seconds:g} s (LEASE_SECONDS) has run out",
            "set VisibilityTimeout to 900, or to LEASE_SECONDS at least; on Lambda to the "
            "function's timeout at least",
        )
    return ok(JOB_QUEUE, "visibility_timeout", f"{seconds} s, above the lease")


async def _rights(aws: Caller, queue_url: str) -> list[Finding]:
    """With a receipt handle that is none."""
    handle = {"QueueUrl": queue_url, "ReceiptHandle": "none"}
    return [
        await allowed(
            aws,
            JOB_QUEUE,
            "sqs:ChangeMessageVisibility",
            _STALE,
            ("sqs", "change_message_visibility"),
            **handle,
            VisibilityTimeout=0,
        ),
        await allowed(
            aws, JOB_QUEUE, "sqs:DeleteMessage", _STALE, ("sqs", "delete_message"), **handle
        ),
        unchecked(
            JOB_QUEUE,
            "may sqs:ReceiveMessage",
            "sqs:ReceiveMessage, and sqs:SendMessage to the dead-letter queue: trying would take "
            "or make a message",
        ),
    ]
